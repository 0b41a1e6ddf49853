//! Every input of the fuzz target's corpus, without a fuzzer.

#[path = "../fuzz/properties.rs"]
mod properties;

#[test]
fn records() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/records");
    let inputs: Vec<_> = std::fs::read_dir(folder).expect("the corpus is committed").collect();
    assert!(!inputs.is_empty());
    for input in inputs {
        let path = input.expect("a readable folder").path();
        println!("{}", path.display());
        properties::records(&std::fs::read(path).expect("a file"));
    }
}
