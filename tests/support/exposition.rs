//! A strict reader of Prometheus' text format, version 0.0.4. It takes nothing that the format leaves open, such as time stamps.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::collections::{BTreeMap, HashSet};

/// A family of samples, in the order of the text.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// Reads a text.
///
/// # Panics
///
/// At the first line that is wrong.
#[track_caller]
pub(crate) fn families(text: &str) -> Vec<Family> {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut families: Vec<Family> = Vec::new();
    let mut names = HashSet::new();
    let mut lines = text.strip_suffix('\n').unwrap().split('\n').peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line.strip_prefix("# HELP ").expect(line).split_once(' ').expect(line);
        assert_name(name, ":", line);
        assert!(names.insert(name.to_owned()), "a second family {name}");
        let line = lines.next().expect("a type");
        let (of, kind) = line.strip_prefix("# TYPE ").expect(line).split_once(' ').expect(line);
        assert_eq!(of, name, "a help without its type");
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            samples.push(sample(line));
        }
        let family =
            Family { name: name.to_owned(), kind: kind.to_owned(), help: unescaped(help, "\\n"), samples };
        check(&family);
        families.push(family);
    }
    families
}

fn check(family: &Family) {
    let name = &family.name;
    assert!(!family.samples.is_empty(), "{name} has no samples");
    let mut seen = Vec::new();
    for sample in &family.samples {
        let which = (&sample.name, &sample.labels);
        assert!(!seen.contains(&which), "{which:?} is there twice");
        seen.push(which);
        assert!(sample.value.is_finite(), "{sample:?}");
        assert!(family.kind == "gauge" || sample.value >= 0.0, "{sample:?}");
    }
    if family.kind != "histogram" {
        let others =
            family.samples.iter().find(|sample| sample.name != *name || sample.labels.contains_key("le"));
        assert_eq!(others, None, "in {name}");
        return;
    }
    let mut rest = &family.samples[..];
    while let Some(first) = rest.first() {
        let mut labels = first.labels.clone();
        labels.remove("le").expect("a bucket");
        let buckets = rest.iter().take_while(|sample| sample.name == format!("{name}_bucket")).count();
        let (of_buckets, behind) = rest.split_at(buckets);
        let mut before = (f64::NEG_INFINITY, 0.0);
        for bucket in of_buckets {
            let mut of = bucket.labels.clone();
            let bound = number(&of.remove("le").expect("a bound"));
            assert_eq!(of, labels, "another one's bucket");
            assert!(bound > before.0 && bucket.value >= before.1, "{bucket:?} behind {before:?}");
            assert_eq!(bucket.value.fract(), 0.0);
            before = (bound, bucket.value);
        }
        assert_eq!(before.0, f64::INFINITY, "the last bucket is that of all");
        assert!(behind.len() >= 2, "{name} lacks its sum or its count");
        let expected =
            |suffix: &str, value| Sample { name: format!("{name}{suffix}"), labels: labels.clone(), value };
        assert_eq!(behind[0], expected("_sum", behind[0].value));
        assert_eq!(behind[1], expected("_count", before.1));
        rest = &behind[2..];
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect(line);
    let Some((name, labels)) = series.split_once('{') else {
        assert_name(series, ":", line);
        return Sample { name: series.to_owned(), labels: BTreeMap::new(), value: number(value) };
    };
    assert_name(name, ":", line);
    let mut rest = labels;
    let mut labels = BTreeMap::new();
    loop {
        let (label, quoted) = rest.split_once("=\"").expect(line);
        assert_name(label, "", line);
        let end = end_of_quoted(quoted).expect(line);
        let twice = labels.insert(label.to_owned(), unescaped(&quoted[..end], "\\n\""));
        assert_eq!(twice, None, "{line}");
        rest = &quoted[end + 1..];
        if rest == "}" {
            return Sample { name: name.to_owned(), labels, value: number(value) };
        }
        rest = rest.strip_prefix(',').expect(line);
    }
}

fn end_of_quoted(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (_, '\\') => _ = chars.next()?,
            (end, '"') => return Some(end),
            _ => {}
        }
    }
}

/// `escapes` may stand behind a backslash.
fn unescaped(text: &str, escapes: &str) -> String {
    let mut chars = text.chars();
    let mut plain = String::new();
    while let Some(char) = chars.next() {
        plain.push(match char {
            '\\' => {
                let escape = chars.next().expect("something behind a backslash");
                assert!(escapes.contains(escape), "\\{escape} in {text}");
                if escape == 'n' { '\n' } else { escape }
            }
            char => char,
        });
    }
    plain
}

fn number(text: &str) -> f64 {
    if text == "+Inf" {
        return f64::INFINITY;
    }
    assert!(text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.e".contains(&byte)), "{text} is no number");
    text.parse().expect(text)
}

#[track_caller]
fn assert_name(name: &str, others: &str, line: &str) {
    let fits = |char: char| char.is_ascii_alphanumeric() || char == '_' || others.contains(char);
    let is_name = name.chars().all(fits) && name.starts_with(|first: char| !first.is_ascii_digit());
    assert!(is_name, "`{name}` is no name in {line}");
}
