use super::*;

fn parse(text: &str) -> Result<Address, AddressError> {
    text.parse()
}

#[test]
fn text_forms_round_trip() {
    for text in [
        "127.0.0.1:80",
        "[::1]:0",
        "unix:/run/app.sock",
        "unix:@app",
        "seqpacket:/run/app.sock",
        "seqpacket:@app",
        "unix:relative/größe",
    ] {
        let address = parse(text).unwrap();
        assert_eq!(address.to_string(), text);
        assert_eq!(parse(&address.to_string()), Ok(address));
    }
}

#[test]
fn accessors_tell_the_kinds_apart() {
    let inet = parse("127.0.0.1:80").unwrap();
    assert_eq!(inet.ip(), Some([127, 0, 0, 1].into()));
    assert_eq!(inet.port(), Some(80));
    assert!(!inet.is_unix() && !inet.is_packet());
    assert_eq!(inet.as_pathname(), None);

    let path = parse("unix:/a").unwrap();
    assert_eq!(path.as_pathname(), Some(Path::new("/a")));
    assert_eq!((path.as_abstract(), path.as_inet()), (None, None));
    assert!(path.is_unix() && !path.is_packet());

    let name = parse("seqpacket:@a").unwrap();
    assert_eq!(name.as_abstract(), Some(&b"a"[..]));
    assert_eq!(name.as_pathname(), None);
    assert!(name.is_unix() && name.is_packet());
    assert_ne!(name, parse("unix:@a").unwrap());
}

#[test]
fn a_name_of_107_bytes_is_taken_and_one_of_108_refused() {
    let fits = "x".repeat(107);
    let over = "x".repeat(108);
    for scheme in ["unix:", "unix:@", "seqpacket:", "seqpacket:@"] {
        assert!(parse(&format!("{scheme}{fits}")).is_ok());
        let error = parse(&format!("{scheme}{over}")).unwrap_err();
        assert_eq!(error, AddressError::NameTooLong { len: 108 });
        assert!(error.to_string().contains("the limit is 107"));
    }
}

#[test]
fn empty_names_and_nul_in_a_path_are_refused() {
    for text in ["unix:", "unix:@", "seqpacket:", "seqpacket:@"] {
        assert_eq!(parse(text), Err(AddressError::EmptyName));
    }
    assert_eq!(parse("unix:/a\0b"), Err(AddressError::NulInPath));
    assert_eq!(Address::unix_path("a\0"), Err(AddressError::NulInPath));
    let with_nul = Address::unix_abstract(b"a\0b").unwrap();
    assert_eq!(with_nul.to_string(), "unix:@a\\u{0}b");
}

#[test]
fn a_path_that_starts_with_an_at_sign_is_not_shown_as_abstract() {
    let path = Address::unix_path("@odd").unwrap();
    assert_eq!(path.to_string(), "unix:./@odd");
    assert!(parse("unix:./@odd").unwrap().as_pathname().is_some());
}

#[test]
fn bytes_that_are_no_text_are_shown_escaped() {
    let name = Address::unix_abstract(b"a\xffb\n").unwrap();
    assert_eq!(name.to_string(), "unix:@a\\xffb\\n");
}

#[test]
fn an_unnamed_address_shows_as_its_scheme_and_cannot_be_used() {
    assert_eq!(Address::unnamed(false).to_string(), "unix:");
    assert_eq!(Address::unnamed(true).to_string(), "seqpacket:");
    let Address::Unix(name) = Address::unnamed(false) else {
        panic!("a stream address was asked for");
    };
    assert!(name.is_unnamed());
    assert_eq!(name.to_system().unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn an_address_stays_small() {
    assert!(size_of::<Address>() <= 40);
}
