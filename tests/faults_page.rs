//! The page of faults names tests that exist.

use std::path::Path;

const PAGE: &str = include_str!("../docs/faults.md");

/// The file and the function of each test that the page names.
fn named() -> Vec<(&'static str, &'static str)> {
    let quoted = PAGE.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.split_once("::")).collect()
}

#[test]
fn each_test_that_the_page_names_is_in_its_file() {
    let named = named();
    assert!(named.len() > 100, "the page names {} tests", named.len());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let missing: Vec<_> = named
        .into_iter()
        .filter(|(file, test)| {
            let path =
                if file.ends_with(".rs") { root.join(file) } else { root.join(format!("tests/{file}.rs")) };
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            !text.contains(&format!("fn {test}("))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
