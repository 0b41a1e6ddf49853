//! docs/semantics.md and the tests beside it cannot drift apart: every rule that the document says is tested in the
//! core is named by a test, and no test names a rule that is not there.
//!
//! A test names its rules at the start of its doc comment: `/// WD-3, WD-5` or `/// WD-3: why`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn parse_id(text: &str) -> Option<(String, u32)> {
    let (area, number) = text.split_once('-')?;
    let is_area = !area.is_empty() && area.bytes().all(|byte| byte.is_ascii_uppercase());
    (is_area && !number.starts_with('0')).then_some((area.to_owned(), number.parse().ok()?))
}

/// From id to the words of the column Test. Panics on an id that is there twice.
fn rules(document: &str) -> BTreeMap<(String, u32), BTreeSet<String>> {
    let mut rules = BTreeMap::new();
    for line in document.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Some(id) = parse_id(cells[0]) else { continue };
        assert_eq!(cells.len(), 5, "{line}");
        assert!(cells[1..].iter().all(|cell| !cell.is_empty()), "an empty cell: {line}");
        let tests = cells[4].split(", ").map(str::to_owned).collect();
        assert_eq!(rules.insert(id, tests), None, "given twice: {line}");
    }
    rules
}

/// The ids at the start of the doc comments of all tests in a source.
fn named(source: &str) -> BTreeSet<(String, u32)> {
    let mut named = BTreeSet::new();
    let mut comment_start = None;
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment_start.get_or_insert(text.trim());
        } else if line == "#[test]" {
            let ids = comment_start.take().unwrap_or_default();
            let ids = ids.split_once(':').map_or(ids, |(ids, _)| ids);
            let ids: Option<Vec<_>> = ids.split(", ").map(parse_id).collect();
            named.extend(ids.unwrap_or_default());
        } else if !line.starts_with("#[") {
            comment_start = None;
        }
    }
    named
}

fn sources() -> Vec<PathBuf> {
    ["src", "tests"]
        .iter()
        .flat_map(|folder| fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn document() -> String {
    fs::read_to_string(root().join("docs/semantics.md")).unwrap()
}

#[test]
fn every_core_rule_is_named_by_a_test_and_the_other_way_round() {
    let in_core: BTreeSet<_> =
        rules(&document()).into_iter().filter(|(_, tests)| tests.contains("core")).map(|(id, _)| id).collect();
    assert!(in_core.len() > 50, "the document was not understood");
    let named: BTreeSet<_> = sources().iter().flat_map(|path| named(&fs::read_to_string(path).unwrap())).collect();
    assert_eq!(in_core.difference(&named).collect::<Vec<_>>(), Vec::<&_>::new(), "said to be tested, named by no test");
    assert_eq!(
        named.difference(&in_core).collect::<Vec<_>>(),
        Vec::<&_>::new(),
        "named by a test, no rule of the core"
    );
}

#[test]
fn ids_are_numbered_without_gaps_and_say_where_they_are_tested() {
    let mut numbers = BTreeMap::<String, Vec<u32>>::new();
    for ((area, number), tests) in rules(&document()) {
        let known = ["core", "differential", "images", "procfs", "probe", "el7", "host", "withdrawn"];
        assert!(tests.iter().all(|test| known.contains(&test.as_str())), "{area}-{number}: {tests:?}");
        numbers.entry(area).or_default().push(number);
    }
    for (area, numbers) in numbers {
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u32), "{area}: {numbers:?}");
    }
}

#[test]
fn ids_are_read_as_they_are_written() {
    let source = "/// WD-3, MERGE-1\n#[test]\nfn a() {}\n/// EVENT-9: why\n/// WD-4\n#[ignore]\n#[test]\nfn b() {}\n\
                  /// WD-5\nfn no_test() {}\n#[test]\nfn c() {}\n/// like WD-6\n#[test]\nfn d() {}";
    let expected = [("EVENT", 9), ("MERGE", 1), ("WD", 3)].map(|(area, number)| (area.to_owned(), number));
    assert_eq!(named(source).into_iter().collect::<Vec<_>>(), expected);
}
