//! Every input of the fuzz targets' corpus, without a fuzzer.

#[path = "../fuzz/properties.rs"]
mod properties;

fn each_input(target: &str, property: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let inputs: Vec<_> = std::fs::read_dir(folder).expect("the corpus is committed").collect();
    assert!(!inputs.is_empty());
    for input in inputs {
        let path = input.expect("a readable folder").path();
        println!("{}", path.display());
        property(&std::fs::read(path).expect("a file"));
    }
}

#[test]
fn requests() {
    each_input("request", properties::request);
}

#[test]
fn replies() {
    each_input("reply", properties::reply);
}

#[test]
fn names() {
    each_input("name", properties::name);
}
