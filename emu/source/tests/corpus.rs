//! Every input of the fuzz targets' corpora, without a fuzzer.

#[path = "../fuzz/properties.rs"]
mod properties;

fn run(corpus: &str, property: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{corpus}", env!("CARGO_MANIFEST_DIR"));
    let inputs: Vec<_> = std::fs::read_dir(folder).expect("the corpus is committed").collect();
    assert!(!inputs.is_empty());
    for input in inputs {
        let path = input.expect("a readable folder").path();
        println!("{}", path.display());
        property(&std::fs::read(path).expect("a file"));
    }
}

#[test]
fn records() {
    run("records", properties::records);
}

#[test]
fn fanotify() {
    run("fanotify", properties::fanotify);
}
