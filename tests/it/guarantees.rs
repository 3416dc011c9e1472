//! What docs/GUARANTEES.md promises is proved by tests that exist.

use std::collections::BTreeSet;
use std::path::Path;

fn names_of_tests(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            names_of_tests(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut lines = text.lines();
            while let Some(line) = lines.next() {
                if !line.trim_start().starts_with("#[tokio::test") && line.trim() != "#[test]" {
                    continue;
                }
                // Attributes may stand between the two.
                let declared = lines.by_ref().find_map(|l| l.split_once("fn ")).unwrap();
                into.insert(declared.1.split('(').next().unwrap().to_owned());
            }
        }
    }
}

#[test]
fn every_test_that_a_guarantee_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut there = BTreeSet::new();
    names_of_tests(&root.join("tests/it"), &mut there);
    assert!(there.len() > 150, "{}", there.len());
    let text = std::fs::read_to_string(root.join("docs/GUARANTEES.md")).unwrap();
    let named: BTreeSet<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| {
            code.contains('_')
                && code
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .collect();
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !there.contains(**name))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    assert!(named.len() > 50, "{}", named.len());
}
