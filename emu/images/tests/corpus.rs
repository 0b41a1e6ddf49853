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
fn checkpoints() {
    each_input("checkpoint", properties::checkpoint);
}

#[test]
fn files() {
    each_input("files", properties::files);
}

#[test]
fn legacy() {
    each_input("legacy", properties::legacy);
}
