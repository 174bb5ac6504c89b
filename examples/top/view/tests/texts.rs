//! Numbers, times and names as they are written.

use crate::view::text::{harmless, micros, millis, number, rate};

#[test]
fn numbers_have_three_digits_and_a_unit() {
    let written = [
        (0.0, "0"),
        (7.0, "7"),
        (0.25, "0.2"),
        (9.96, "10"),
        (999.4, "999"),
        (999.6, "1.00k"),
        (1234.0, "1.23k"),
        (9_996.0, "10.0k"),
        (12_345.0, "12.3k"),
        (99_960.0, "100k"),
        (999_600.0, "1.00M"),
        (2.5e9, "2.50G"),
        (1e21, "1000000P"),
    ];
    for (value, text) in written {
        assert_eq!(number(value), text);
    }
    assert_eq!((rate(None), rate(Some(1.5))), ("-".to_owned(), "1.5".to_owned()));
}

#[test]
fn times_have_their_two_largest_units() {
    let written = [
        (0.0, "0ms"),
        (999.0, "999ms"),
        (59_999.0, "59s"),
        (312_000.0, "5m12s"),
        (7_500_000.0, "2h05m"),
        (273_600_000.0, "3d04h"),
    ];
    for (value, text) in written {
        assert_eq!(millis(value), text);
    }
    let written = [(1.0, "1us"), (999.0, "999us"), (1024.0, "1.0ms"), (2_097_152.0, "2.1s")];
    for (value, text) in written {
        assert_eq!(micros(value), text);
    }
}

#[test]
fn names_keep_letters_of_all_scripts_and_nothing_that_moves_or_paints() {
    assert_eq!(harmless("127.0.0.1:7000 [::1]:80"), "127.0.0.1:7000 [::1]:80");
    assert_eq!(harmless("Jürgen Привет 日本"), "Jürgen Привет 日本");
    assert_eq!(harmless("a\x1b[31mb\r\n\tc\x7f\u{9b}d"), "a?[31mb???c??d");
    // Direction, width and combining marks.
    assert_eq!(harmless("a\u{202e}b\u{2066}c\u{200b}d\u{301}e\u{feff}"), "a?b?c?d?e?");
}

#[test]
fn a_long_name_is_cut() {
    assert_eq!(harmless(&"x".repeat(200)), "x".repeat(200));
    assert_eq!(harmless(&"x".repeat(100_000)), format!("{}~", "x".repeat(200)));
}
