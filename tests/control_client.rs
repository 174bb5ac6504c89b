//! The blocking client of control sockets: requests, replies in any order, and what is no reply, from servers that are played.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use campana::Address;
use campana::control::{ClientError, ControlClient};
use control_peer::{Fake, Peer, listen, ok, unique};
use serde_json::{Value, json};

#[path = "support/control_peer.rs"]
mod control_peer;

#[track_caller]
fn failed(error: ClientError) -> campana::control::ErrorReply {
    match error {
        ClientError::Failed(reply) => reply,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn malformed(error: ClientError) -> String {
    match error {
        ClientError::Malformed(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_one_packet_of_the_envelope_and_its_result_comes_back() {
    let (mut client, server) = Fake::with_client(|peer| {
        let request = peer.request();
        assert_eq!(
            request,
            json!({"version": 1, "command": "add", "params": {"a": 1, "b": 2}, "id": request["id"]})
        );
        assert!(request["id"].is_string());
        peer.answer(&request, 3);
        let request = peer.request();
        assert_eq!(request, json!({"version": 1, "command": "nothing", "id": request["id"]}));
        peer.send(json!({"version": 1, "id": request["id"], "ok": true}).to_string());
    });
    let sum: i64 = client.request("add", &json!({"a": 1, "b": 2})).unwrap();
    assert_eq!(sum, 3);
    let () = client.request("nothing", &()).unwrap();
    assert_eq!(client.outstanding(), 0);
    server.end();
}

#[test]
fn replies_in_any_order_reach_those_who_wait_for_them() {
    let (mut client, server) = Fake::with_client(|peer| {
        let requests: Vec<Value> = (0..5).map(|_| peer.request()).collect();
        for index in [3, 0, 4, 1, 2] {
            peer.answer(&requests[index], requests[index]["params"]["n"].clone());
        }
    });
    let ids: Vec<String> =
        (0..5).map(|number| client.send("number", &json!({"n": number})).unwrap()).collect();
    assert_eq!(client.outstanding(), 5);
    for number in [4, 0, 1, 3, 2] {
        let reply = client.wait(&ids[number]).unwrap();
        assert_eq!(reply.id(), ids[number]);
        assert_eq!(reply.into_result::<usize>().unwrap(), number);
    }
    assert!(matches!(client.wait(&ids[0]), Err(ClientError::NotInFlight)));
    assert_eq!(client.outstanding(), 0);
    server.end();
}

#[test]
fn receive_gives_what_came_before_in_its_order_and_then_whatever_comes() {
    let (mut client, server) = Fake::with_client(|peer| {
        let requests: Vec<Value> = (0..4).map(|_| peer.request()).collect();
        for index in [2, 0, 3, 1] {
            peer.answer(&requests[index], index);
        }
    });
    assert!(matches!(client.receive(), Err(ClientError::NotInFlight)));
    let ids: Vec<String> = (0..4).map(|_| client.send("any", &()).unwrap()).collect();
    client.wait(&ids[3]).unwrap();
    for expected in [2, 0, 1] {
        let reply = client.receive().unwrap();
        assert_eq!((reply.id(), reply.json().unwrap()), (&*ids[expected], &*expected.to_string()));
    }
    assert!(matches!(client.receive(), Err(ClientError::NotInFlight)));
    server.end();
}

#[test]
fn a_request_in_between_leaves_the_replies_of_others_alone() {
    let (mut client, server) = Fake::with_client(|peer| {
        let slow = peer.request();
        let fast = peer.request();
        peer.answer(&slow, "slow");
        peer.answer(&fast, "fast");
    });
    let slow = client.send("slow", &()).unwrap();
    assert_eq!(client.request::<_, String>("fast", &()).unwrap(), "fast");
    assert_eq!(client.wait(&slow).unwrap().into_result::<String>().unwrap(), "slow");
    server.end();
}

#[test]
fn an_error_reply_brings_its_code_its_texts_and_all_else_in_it() {
    let (mut client, server) = Fake::with_client(|peer| {
        for _ in 0..2 {
            let id = peer.request()["id"].clone();
            let reply = json!({"version": 1, "id": id, "ok": false, "code": "unknown_command",
                "errors": ["no such command", "really"], "commands": ["help"], "result": 7});
            peer.send(reply.to_string());
        }
    });
    let error = failed(client.request::<_, Value>("hlep", &()).unwrap_err());
    assert_eq!(error.code, "unknown_command");
    assert_eq!(error.errors, ["no such command", "really"]);
    assert_eq!(Value::from(error.base.clone()), json!({"commands": ["help"], "result": 7}));
    assert_eq!(error.to_string(), "unknown_command: no such command; really");

    let id = client.send("hlep", &()).unwrap();
    let reply = client.wait(&id).unwrap();
    assert!(!reply.is_ok());
    assert_eq!(reply.json().unwrap_err(), &error);
    assert_eq!(failed(reply.into_result::<Value>().unwrap_err()), error);
    server.end();
}

#[test]
fn an_error_without_an_id_is_told_to_whoever_waits_and_the_requests_stay_in_flight() {
    let (mut client, server) = Fake::with_client(|peer| {
        let request = peer.request();
        let text = r#"{"version":1,"ok":false,"code":"invalid_request","errors":["what?"]}"#;
        peer.send(text);
        peer.send(text);
        peer.answer(&request, "after all");
    });
    let id = client.send("any", &()).unwrap();
    assert_eq!(failed(client.wait(&id).unwrap_err()).code, "invalid_request");
    assert_eq!(failed(client.receive().unwrap_err()).errors, ["what?"]);
    assert_eq!(client.wait(&id).unwrap().into_result::<String>().unwrap(), "after all");
    server.end();
}

#[test]
fn what_is_no_reply_is_malformed_and_the_client_goes_on() {
    let packets = [
        ("", "empty packet"),
        ("{", "EOF"),
        ("\u{0}\u{1}", "no object"),
        ("[1]", "no object"),
        (r#"[1,"ID",true,1]"#, "no object"),
        ("7", "no object"),
        (r#"{"id":"ID","ok":true,"result":1}"#, "version"),
        (r#"{"version":2,"id":"ID","ok":true,"result":1}"#, "its version is 2"),
        (r#"{"version":"1","id":"ID","ok":true,"result":1}"#, "invalid type"),
        (r#"{"version":1,"id":"ID","result":1}"#, "ok"),
        (r#"{"version":1,"id":"ID","ok":1,"result":1}"#, "invalid type"),
        (r#"{"version":1,"id":7,"ok":true,"result":1}"#, "invalid type"),
        (r#"{"version":1,"ok":true,"result":1}"#, "no id"),
        (r#"{"version":1,"id":"ID","ok":true,"ok":true,"result":1}"#, "duplicate"),
        (r#"{"version":1,"id":"ID","ok":true,"result":1}{}"#, "trailing"),
        (r#"{"version":1,"id":"ID","ok":true,"result":"#, "EOF"),
        (r#"{"version":1,"id":"ID","ok":false,"errors":[]}"#, "code"),
        (r#"{"version":1,"id":"ID","ok":false,"code":"x"}"#, "errors"),
        (r#"{"version":1,"id":"ID","ok":false,"code":"x","errors":"text"}"#, "invalid type"),
    ];
    let (mut client, server) = Fake::with_client(move |peer| {
        for (packet, _) in packets {
            let request = peer.request();
            peer.send(packet.replace("ID", request["id"].as_str().unwrap()));
            let request = peer.request();
            peer.answer(&request, "well");
        }
        let request = peer.request();
        peer.send([b"\"\xff\"".as_slice(), ok(&request, 1).as_bytes()].concat());
        // Far deeper than a stack would go.
        let request = peer.request();
        peer.send("[".repeat(100_000));
        let deep = format!(r#""result":{}{}"#, "[".repeat(50_000), "]".repeat(50_000));
        peer.send(ok(&request, 1).replace(r#""result":1"#, &deep));
        peer.echo();
    });
    for (packet, expected) in packets {
        let why = malformed(client.request::<_, Value>("any", &()).unwrap_err());
        assert!(why.contains(expected), "{packet}: {why}");
        assert_eq!(client.request::<_, String>("any", &()).unwrap(), "well");
    }
    malformed(client.request::<_, Value>("not UTF-8", &()).unwrap_err());
    let deep = client.send("deep", &()).unwrap();
    malformed(client.wait(&deep).unwrap_err());
    let reply = client.wait(&deep).unwrap();
    assert!(matches!(reply.into_result::<Value>(), Err(ClientError::UnexpectedResult(_))));
    assert_eq!(client.request::<_, Value>("any", &json!({"a": 1})).unwrap(), json!({"a": 1}));
    assert_eq!(client.outstanding(), 0);
    drop(client);
    server.end();
}

#[test]
fn a_reply_over_the_limit_is_no_reply_and_a_higher_limit_takes_it() {
    let (mut client, server) = Fake::with_client(|peer| peer.echo());
    let text = "x".repeat(10_000);
    client.set_reply_limit(10_000);
    let why = malformed(client.request::<_, Value>("echo", &json!({"text": text})).unwrap_err());
    assert!(why.contains("more than 10000 bytes") && why.contains("set_reply_limit"), "{why}");
    assert_eq!(client.request::<_, Value>("echo", &json!({"a": 1})).unwrap(), json!({"a": 1}));
    client.set_reply_limit(20_000);
    assert_eq!(client.request::<_, Value>("echo", &json!({"text": text})).unwrap()["text"], *text);
    drop(client);
    server.end();
}

#[test]
fn a_result_of_another_type_is_told_as_such_and_the_client_goes_on() {
    let (mut client, server) = Fake::with_client(|peer| peer.echo());
    let error = client.request::<_, u8>("echo", &json!({"a": 1})).unwrap_err();
    assert!(matches!(error, ClientError::UnexpectedResult(_)), "{error:?}");
    assert_eq!(client.request::<_, BTreeMap<String, u8>>("echo", &json!({"a": 1})).unwrap()["a"], 1);
    drop(client);
    server.end();
}

#[test]
fn parameters_that_are_no_json_are_refused_before_anything_is_sent() {
    let (mut client, server) = Fake::with_client(|peer| assert_eq!(peer.receive(), None));
    let error = client.request::<_, Value>("any", &BTreeMap::from([(vec![1], 2)])).unwrap_err();
    assert!(matches!(error, ClientError::InvalidParams(_)), "{error:?}");
    assert_eq!(client.outstanding(), 0);
    drop(client);
    server.end();
}

#[test]
fn a_request_larger_than_a_packet_is_refused_and_one_of_256_kib_is_not() {
    let (mut client, server) = Fake::with_client(|peer| {
        let request = peer.request();
        peer.answer(&request, request["params"]["text"].as_str().unwrap().len());
    });
    for length in [600_000, 5_000_000] {
        let error = client.request::<_, Value>("echo", &json!({"text": "x".repeat(length)})).unwrap_err();
        assert!(
            matches!(error, ClientError::TooLarge { length: told } if told > length && told < length + 100)
        );
    }
    assert_eq!(client.outstanding(), 0);
    let length = 256 * 1024 - 100;
    let received: usize = client.request("length", &json!({"text": "x".repeat(length)})).unwrap();
    assert_eq!(received, length);
    server.end();
}

#[test]
fn forgotten_requests_have_their_replies_dropped() {
    let (mut client, server) = Fake::with_client(|peer| {
        let first = peer.request();
        let second = peer.request();
        peer.answer(&first, 1);
        peer.answer(&second, 2);
        peer.answer(&second, 2);
        peer.echo();
    });
    let first = client.send("any", &()).unwrap();
    let second = client.send("any", &()).unwrap();
    client.forget(&first);
    client.forget("unheard of");
    assert_eq!(client.outstanding(), 1);
    assert_eq!(client.wait(&second).unwrap().into_result::<u8>().unwrap(), 2);
    assert!(matches!(client.wait(&first), Err(ClientError::NotInFlight)));
    assert!(client.request::<_, Value>("echo", &json!({})).is_ok());
    assert_eq!(client.outstanding(), 0);
    drop(client);
    server.end();
}

#[test]
fn a_control_socket_is_found_by_its_path_its_name_and_its_address() {
    let path = std::env::temp_dir().join(&unique()[1..]);
    let name = unique();
    let at_path = listen(path.to_str().unwrap());
    let at_name = listen(&name);
    let address: Address = format!("seqpacket:{name}").parse().unwrap();
    let clients = [
        ControlClient::connect(&path),
        ControlClient::connect(path.to_str().unwrap()),
        ControlClient::connect(format!("seqpacket:{}", path.display())),
        ControlClient::connect(&name),
        ControlClient::connect(address.to_string()),
        ControlClient::connect(&address),
    ];
    for (index, client) in clients.into_iter().enumerate() {
        let peer = Peer::accept(if index < 3 { &at_path } else { &at_name });
        let client = client.unwrap();
        let server = client.peer_credentials().unwrap();
        assert_eq!(server.pid, std::process::id().cast_signed());
        drop(client);
        assert_eq!(peer.receive(), None);
    }
}

#[test]
fn where_no_control_socket_is_the_error_says_where_and_why() {
    let kind = |address: &str| match ControlClient::connect(address).unwrap_err() {
        ClientError::Io(error) => {
            assert!(error.to_string().contains(address), "{error}");
            error.kind()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(kind("/nowhere/at/all.sock"), ErrorKind::NotFound);
    assert_eq!(kind(&unique()), ErrorKind::ConnectionRefused);
    assert_eq!(kind("unix:/run/app.sock"), ErrorKind::InvalidInput);
}

#[test]
fn a_client_goes_from_thread_to_thread() {
    let (mut client, server) = Fake::with_client(|peer| peer.echo());
    let elsewhere = std::thread::spawn(move || client.request::<_, Value>("echo", &json!({"a": 1})));
    assert_eq!(elsewhere.join().unwrap().unwrap(), json!({"a": 1}));
    server.end();
}
