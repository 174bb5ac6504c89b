//! Parameters as users write them, and types of parameters as users declare them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::*;

/// The one error of parameters that are no `P`.
fn fault<P: DeserializeOwned>(params: &str) -> String {
    match parse::<P>(params) {
        Ok(_) => panic!("{params} is taken"),
        Err(errors) => {
            assert_eq!(errors.len(), 1, "{errors:?}");
            errors.into_iter().next().unwrap()
        }
    }
}

/// Name, kind, and whether it is required (`!`) or not (`?`).
fn described<P: DeserializeOwned>() -> Vec<String> {
    let described =
        |field: Field| format!("{}{} {}", field.name, if field.required { '!' } else { '?' }, field.kind);
    fields_of::<P>().expect("a type whose fields can be known").into_iter().map(described).collect()
}

#[derive(Debug, Deserialize, PartialEq)]
struct Limits {
    count: u32,
    #[serde(default)]
    rates: Vec<f64>,
    mode: Option<Mode>,
    peer: Option<Peer>,
    #[serde(default)]
    tags: BTreeMap<String, i8>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Fast,
    VerySlow,
    #[serde(alias = "none")]
    Off,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Peer {
    host: IpAddr,
    port: u16,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Strict {}

#[derive(Debug, Deserialize, PartialEq)]
struct Nothing;

#[derive(Debug, Deserialize, PartialEq)]
struct Wrapped<T>(T);

#[test]
fn parameters_are_made_into_the_type() {
    let params = r#" {"count":3,"rates":[0.5,1],"mode":"very_slow","peer":{"host":"::1","port":80},"tags":{"a":-1},"more":null} "#;
    let limits = parse::<Limits>(params).unwrap();
    assert_eq!((limits.count, limits.mode, limits.rates), (3, Some(Mode::VerySlow), vec![0.5, 1.0]));
    assert_eq!(parse::<HashMap<String, u8>>(r#"{"a":1}"#).unwrap(), HashMap::from([("a".to_owned(), 1)]));
    assert_eq!(parse::<Wrapped<Strict>>("{}"), Ok(Wrapped(Strict {})));
    assert_eq!(parse::<Option<Strict>>("{}"), Ok(Some(Strict {})));
}

#[test]
fn a_field_of_the_wrong_type_is_named() {
    assert_eq!(
        fault::<Limits>(r#"{"count":"x"}"#),
        r#"params.count: invalid type: string "x", expected u32"#
    );
    assert_eq!(fault::<Limits>(r#"{"count":-1}"#), "params.count: invalid value: integer `-1`, expected u32");
    assert_eq!(fault::<Limits>(r#"{"count":1e999}"#), "params.count: number out of range");
    assert_eq!(
        fault::<Limits>("{\n\"count\":1,\n\"rates\":[1,2,true]}"),
        "params.rates[2]: invalid type: boolean `true`, expected f64"
    );
    assert_eq!(
        fault::<Limits>(r#"{"count":1,"peer":{"host":"::1","port":65536}}"#),
        "params.peer.port: invalid value: integer `65536`, expected u16"
    );
    assert_eq!(
        fault::<Limits>(r#"{"count":1,"peer":{"host":"nobody","port":1}}"#),
        "params.peer.host: invalid IP address syntax"
    );
    assert_eq!(
        fault::<Limits>(r#"{"count":1,"mode":"slow"}"#),
        "params.mode: unknown variant `slow`, expected one of `fast`, `very_slow`, `none`, `off`"
    );
    assert_eq!(
        fault::<Limits>(r#"{"count":1,"tags":{"a.b c":128}}"#),
        r#"params.tags["a.b c"]: invalid value: integer `128`, expected i8"#
    );
}

#[test]
fn a_field_that_is_missing_unknown_or_doubled_is_named() {
    assert_eq!(fault::<Limits>("{}"), "params.count: missing");
    assert_eq!(fault::<Limits>(r#"{"count":1,"count":2}"#), "params.count: given more than once");
    assert_eq!(fault::<Limits>(r#"{"count":1,"peer":{"host":"::1"}}"#), "params.peer.port: missing");
    assert_eq!(
        fault::<Limits>(r#"{"count":1,"peer":{"host":"::1","prot":1}}"#),
        "params.peer.prot: unknown, expected `host` or `port`"
    );
    assert_eq!(fault::<Strict>(r#"{"verbose":true}"#), "params.verbose: unknown, there are no fields");
    assert_eq!(
        fault::<Peer>(r#"{"no such `, expected field":1}"#),
        r#"params["no such `, expected field"]: unknown, expected `host` or `port`"#
    );
}

#[test]
fn only_an_object_will_do() {
    for params in ["[1]", "null", "\"{}\"", "1", "", "[]"] {
        assert_eq!(fault::<Value>(params), "params: not an object", "{params}");
    }
    assert_eq!(fault::<Wrapped<u8>>("{}"), "params: invalid type: map, expected u8");
    assert_eq!(fault::<Value>("{} {}"), "params: trailing characters");
    assert_eq!(fault::<Value>("{"), "params: EOF while parsing an object");
    assert_eq!(fault::<Value>(r#"{"a":"\ud800"}"#), "params.a: unexpected end of hex escape");
}

#[test]
fn a_command_without_parameters_takes_an_empty_object_only() {
    assert_eq!(parse::<()>(" { } "), Ok(()));
    assert_eq!(parse::<Nothing>("{}"), Ok(Nothing));
    assert_eq!(parse::<Wrapped<()>>("{}"), Ok(Wrapped(())));
    for fault in [fault::<()>, fault::<Nothing>, fault::<Wrapped<()>>] {
        assert_eq!(fault(r#"{"all":true,"b":1}"#), "params.all: unknown, there are no fields");
    }
}

#[test]
fn maps_values_and_unparsed_text_take_any_object() {
    let params = r#"{"a":[1,{"b":null}],"c":1.5}"#;
    assert_eq!(parse::<Value>(params).unwrap().to_string(), params);
    assert_eq!(parse::<Map<String, Value>>(params).unwrap().len(), 2);
    assert_eq!(parse::<Box<RawValue>>(params).unwrap().get(), params);
    assert_eq!(parse::<Value>("{}").unwrap(), Value::Object(Map::new()));
}

#[test]
fn what_a_type_has_against_its_values_is_told() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "Bounds")]
    struct Range;

    #[derive(Deserialize)]
    struct Bounds {
        from: u8,
        to: u8,
    }

    impl TryFrom<Bounds> for Range {
        type Error = String;

        fn try_from(bounds: Bounds) -> Result<Self, String> {
            if bounds.from < bounds.to {
                Ok(Self)
            } else {
                Err(format!("from {} is not below to", bounds.from))
            }
        }
    }

    #[derive(Debug, Deserialize)]
    struct Search {
        #[expect(dead_code, reason = "what is deserialized is not looked at")]
        range: Range,
    }

    assert!(parse::<Range>(r#"{"from":1,"to":2}"#).is_ok());
    assert_eq!(fault::<Range>(r#"{"from":2,"to":2}"#), "params: from 2 is not below to");
    assert_eq!(fault::<Search>(r#"{"range":{"from":2,"to":2}}"#), "params.range: from 2 is not below to");
    assert_eq!(fault::<Search>(r#"{"range":{"from":2}}"#), "params.range.to: missing");
    assert_eq!(
        described::<Range>(),
        ["from! integer", "to! integer"],
        "refused as a whole, but nothing is missing"
    );
    assert_eq!(described::<Search>(), ["range! object"]);
}

#[test]
fn an_error_does_not_repeat_a_long_value_in_full() {
    for long in ["x".repeat(100_000), "é\"\\".repeat(30_000)] {
        let text = fault::<Limits>(&serde_json::json!({ "count": long }).to_string());
        assert!(text.len() < 1010, "{}", text.len());
        assert!(text.starts_with("params.count: invalid type: string \""), "{text}");
        assert!(text.ends_with("\", expected u32"), "{text}");
        assert!(fault::<()>(&serde_json::json!({ long: 1 }).to_string()).len() < 1010);
    }
}

#[test]
fn nesting_without_end_is_an_error() {
    let params = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(fault::<Value>(&params).ends_with("recursion limit exceeded"));
}

#[test]
fn fields_are_found_with_their_kinds() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    struct All {
        text: String,
        letter: char,
        path: PathBuf,
        address: SocketAddr,
        flag: bool,
        count: u64,
        huge: i128,
        nonzero: NonZeroU32,
        ratio: f32,
        list: Vec<u8>,
        pair: (u8, String),
        words: [u16; 4],
        set: HashSet<String>,
        map: HashMap<String, u8>,
        nested: Peer,
        duration: Duration,
        mode: Mode,
        wrapped: Wrapped<Wrapped<bool>>,
        boxed: Box<str>,
        nothing: (),
        value: Value,
        raw: Box<RawValue>,
    }
    assert_eq!(
        described::<All>(),
        [
            "text! string",
            "letter! string",
            "path! string",
            "address! string",
            "flag! boolean",
            "count! integer",
            "huge! integer",
            "nonzero! integer",
            "ratio! number",
            "list! array",
            "pair! array",
            "words! array",
            "set! array",
            "map! object",
            "nested! object",
            "duration! object",
            "mode! one of fast|very_slow|none|off",
            "wrapped! boolean",
            "boxed! string",
            "nothing! null",
            "value! any",
            "raw! any",
        ]
    );
}

#[test]
fn options_and_defaults_are_not_required() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    struct Some {
        first: u8,
        #[serde(default)]
        defaulted: String,
        option: Option<Wrapped<Mode>>,
        option_of_option: Option<Option<bool>>,
        #[serde(default = "ten")]
        ten: u8,
        last: Mode,
        #[serde(skip)]
        skipped: u8,
        #[serde(deserialize_with = "always_some")]
        nullable: Option<u8>,
    }

    fn ten() -> u8 {
        10
    }

    fn always_some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
        Option::deserialize(deserializer)
    }

    assert_eq!(
        described::<Some>(),
        [
            "first! integer",
            "defaulted? string",
            "option? one of fast|very_slow|none|off",
            "option_of_option? boolean",
            "ten? integer",
            "last! one of fast|very_slow|none|off",
            "nullable! integer",
        ]
    );

    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Defaulted {
        a: u8,
        b: Vec<String>,
    }
    assert_eq!(described::<Defaulted>(), ["a? integer", "b? array"]);
    assert_eq!(described::<Option<Defaulted>>(), ["a? integer", "b? array"]);
    assert_eq!(described::<Wrapped<Defaulted>>(), ["a? integer", "b? array"]);
}

#[test]
fn fields_have_the_names_that_json_has_for_them() {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    struct Renamed {
        idle_time: u8,
        #[serde(rename = "type")]
        kind: String,
        #[serde(alias = "a", alias = "z", default)]
        middle: u8,
        #[serde(alias = "b")]
        required: Peer,
    }
    assert_eq!(
        described::<Renamed>(),
        ["idleTime! integer", "type! string", "middle? integer", "required! object"]
    );
}

#[test]
fn enums_show_their_variants() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    enum Target {
        All,
        One(String),
        Pair(u8, u8),
        Matching { filter: String },
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    enum Either {
        Number(u8),
        List(Vec<u8>),
    }

    #[derive(Deserialize)]
    #[serde(tag = "kind")]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    enum Tagged {
        A { x: u8 },
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    struct Uses {
        target: Target,
        either: Either,
        #[serde(default)]
        after: u8,
        tagged: Tagged,
    }
    assert_eq!(
        described::<Uses>(),
        ["target! one of All|{One}|{Pair}|{Matching}", "either! any", "after? integer", "tagged! any"]
    );
    assert_eq!(fields_of::<Mode>(), None);
    assert_eq!(fields_of::<Tagged>(), None);
}

#[test]
fn commands_without_parameters_have_no_fields() {
    assert_eq!(fields_of::<()>(), Some(Vec::new()));
    assert_eq!(fields_of::<Nothing>(), Some(Vec::new()));
    assert_eq!(fields_of::<Strict>(), Some(Vec::new()));
    assert_eq!(fields_of::<Wrapped<()>>(), Some(Vec::new()));
}

#[test]
fn the_fields_of_maps_and_flattened_structs_are_not_known() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    struct Flattened {
        count: u8,
        #[serde(flatten)]
        peer: Peer,
    }
    assert_eq!(fields_of::<Flattened>(), None);
    assert_eq!(fields_of::<Value>(), None);
    assert_eq!(fields_of::<Map<String, Value>>(), None);
    assert_eq!(fields_of::<HashMap<String, u8>>(), None);
    assert_eq!(fields_of::<Box<RawValue>>(), None);
    assert_eq!(fields_of::<Vec<u8>>(), None);
    assert_eq!(fields_of::<String>(), None);
}

#[test]
fn behind_a_field_that_no_value_can_be_made_up_for_all_but_options_count_as_required() {
    struct Seven;

    impl<'de> Deserialize<'de> for Seven {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            if u32::deserialize(deserializer)? == 7 {
                Ok(Self)
            } else {
                Err(serde::de::Error::custom("not seven"))
            }
        }
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    struct Picky {
        before: u8,
        #[serde(default)]
        defaulted: u8,
        seven: Seven,
        after: u8,
        option: Option<Seven>,
        #[serde(default)]
        not_known: String,
    }
    assert_eq!(
        described::<Picky>(),
        [
            "before! integer",
            "defaulted? integer",
            "seven! integer",
            "after! integer",
            "option? integer",
            "not_known! string"
        ]
    );
}

#[test]
fn a_type_whose_checks_panic_still_has_fields() {
    struct Panics;

    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            panic!("no text like {:?} was thought of", String::deserialize(deserializer)?)
        }
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    struct Rash {
        count: u8,
        panics: Panics,
        option: Option<u8>,
    }
    assert_eq!(described::<Rash>(), ["count! integer", "panics! string", "option? integer"]);
}

#[test]
fn values_that_some_checks_want_are_found() {
    #[derive(Deserialize)]
    #[serde(try_from = "Vec<Even>")]
    struct NotEmpty;

    #[derive(Deserialize)]
    #[serde(try_from = "u8")]
    struct Even;

    impl TryFrom<Vec<Even>> for NotEmpty {
        type Error = &'static str;

        fn try_from(list: Vec<Even>) -> Result<Self, &'static str> {
            if list.is_empty() { Err("empty") } else { Ok(Self) }
        }
    }

    impl TryFrom<u8> for Even {
        type Error = &'static str;

        fn try_from(number: u8) -> Result<Self, &'static str> {
            if number.is_multiple_of(2) { Ok(Self) } else { Err("odd") }
        }
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    struct Checked {
        list: NotEmpty,
        map: HashMap<Mode2, Even>,
        #[serde(default)]
        after: u8,
    }

    #[derive(Deserialize, PartialEq, Eq, Hash)]
    enum Mode2 {
        Only,
    }
    assert_eq!(described::<Checked>(), ["list! array", "map! object", "after? integer"]);
}

#[test]
fn recursive_types_come_to_an_end() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    struct Node {
        value: u8,
        children: Vec<Node>,
        next: Option<Box<Node>>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    struct Endless {
        value: u8,
        next: Box<Endless>,
        option: Option<u8>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    struct Itself(Box<Itself>);

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    struct Maybe(Option<Box<Maybe>>);

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    enum Term {
        Sum(Box<Term>, Box<Term>),
        Product(Box<(Term, Term, Term)>),
        Number(f64),
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what is deserialized is not looked at")]
    struct Evaluate {
        term: Term,
        itself: Itself,
        maybe: Maybe,
    }

    let start = Instant::now();
    assert_eq!(described::<Node>(), ["value! integer", "children! array", "next? object"]);
    assert_eq!(described::<Endless>(), ["value! integer", "next! object", "option? integer"]);
    assert_eq!(fields_of::<Itself>(), None);
    assert_eq!(fields_of::<Maybe>(), None);
    let evaluate = described::<Evaluate>();
    assert_eq!(evaluate[..2], ["term! one of {Sum}|{Product}|{Number}", "itself! any"]);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
