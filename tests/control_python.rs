//! Control sockets with a client in another language: what Python's standard library sends and gets.

use std::io::ErrorKind;
use std::process::Command as Program;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use alone::one_at_a_time;
use campana::control::{Command, ControlConfig, ControlHandle, ControlServer, Failure, Responder, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use server::{Running, open_descriptors};

#[path = "support/alone.rs"]
mod alone;
#[path = "support/server.rs"]
mod server;

#[derive(Deserialize)]
struct Hold {
    n: u64,
}

#[derive(Deserialize)]
struct Text {
    bytes: usize,
}

#[derive(Deserialize)]
struct Millis {
    ms: u64,
}

#[derive(Deserialize)]
struct Mode {
    mode: u32,
}

/// The commands, and the control socket once it is there.
fn router(control: &Arc<OnceLock<ControlHandle>>) -> Router {
    let mut router = Router::new();
    let mut add = |command| {
        router.add(command).unwrap();
    };
    let held: Arc<Mutex<Vec<(u64, Responder)>>> = Arc::default();
    add(Command::new("echo", "Answers with its parameters.").answers(|_, params: Value| Ok(params)));
    add(Command::new("text", "Answers with so many bytes.")
        .answers(|_, Text { bytes }: Text| Ok("x".repeat(bytes))));
    add(Command::new("fail", "Fails.").answers(|_, (): ()| {
        Err::<(), _>(Failure::new("one").and("two").code("twice").with("hint", "none"))
    }));
    let holding = Arc::clone(&held);
    add(Command::new("hold", "Answers when it is released.").defers(move |_, Hold { n }, responder| {
        holding.lock().unwrap().push((n, responder));
    }));
    let holding = Arc::clone(&held);
    add(Command::new("held", "Says how many requests are held.")
        .answers(move |_, (): ()| Ok(holding.lock().unwrap().len())));
    add(Command::new("release", "Answers the requests that are held, the last first.").defers(
        move |_, (): (), responder| {
            let held = std::mem::take(&mut *held.lock().unwrap());
            std::thread::spawn(move || {
                for (n, responder) in held.into_iter().rev() {
                    // Its client may have gone.
                    let _ = responder.reply(n);
                }
                responder.reply(()).unwrap();
            });
        },
    ));
    add(Command::new("counts", "Says what the session has counted.").answers(|call, (): ()| {
        let counts = call.counts();
        Ok(json!({
            "in_msg_count": counts.in_msg_count,
            "out_msg_count": counts.out_msg_count,
            "out_err_msg_count": counts.out_err_msg_count,
            "out_consecutive_err_msg_count": counts.out_consecutive_err_msg_count,
        }))
    }));
    add(Command::new("set_inactivity", "Sets the session's time-out.").answers(
        |call, Millis { ms }: Millis| {
            call.set_inactivity(Duration::from_millis(ms));
            Ok(())
        },
    ));
    let control = Arc::clone(control);
    add(Command::new("set_mode", "Changes the path's permissions.").answers(
        move |_, Mode { mode }: Mode| {
            control.get().unwrap().set_mode(mode)?;
            Ok(())
        },
    ));
    add(Command::new("descriptors", "Says how many descriptors the server has open.")
        .answers(|_, (): ()| Ok(open_descriptors())));
    add(Command::new("memory", "Says how many bytes of memory the server has.").answers(|_, (): ()| {
        let statm = std::fs::read_to_string("/proc/self/statm")?;
        let resident: usize = statm.split(' ').nth(1).unwrap_or_default().parse()?;
        Ok(resident * rustix::param::page_size())
    }));
    router
}

/// Starts a server, and lets a client do what its scenario says.
#[track_caller]
fn run(scenario: &str) {
    run_configured(scenario, |_| {});
}

#[track_caller]
fn run_configured(scenario: &str, configure: impl FnOnce(&mut ControlConfig) + Send + 'static) {
    let _alone = one_at_a_time();
    let path = std::env::temp_dir().join(format!("campana-control-python-{}", std::process::id()));
    let at = path.clone();
    let (running, control) = Running::start(move |event_loop| {
        let control = Arc::new(OnceLock::new());
        let server = ControlServer::bind(&at).configure(configure);
        let handle = server.start(event_loop, router(&control)).unwrap();
        control.set(handle.clone()).unwrap();
        handle
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/control_scenarios.py");
    let ended = Program::new("python3")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script)
        .arg(&path)
        .arg(scenario)
        .output();
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("this test needs Python 3.9 or later as `python3`: install it (apt-get install python3)")
        }
        Err(error) => panic!("{error}"),
    };
    assert!(ended.status.success(), "{scenario}: {}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(running.figures().panics, 0);
    control.stop(Duration::ZERO);
    server::wait_until("the end of the sessions", || control.sessions().is_empty());
    running.stop();
    assert!(!path.exists(), "the server takes its path with it");
}

#[test]
fn requests_in_flight_are_answered_in_any_order() {
    run("several_in_flight");
}

#[test]
fn violations_of_the_protocol_are_told_and_end_nothing() {
    run("violations");
}

#[test]
fn ids_and_params_may_be_left_out() {
    run("ids_and_params_may_be_left_out");
}

#[test]
fn empty_packets_are_ignored() {
    run("empty_packets");
}

#[test]
fn packets_over_the_limit_are_errors_and_never_half_a_request() {
    run("oversized_packets");
}

#[test]
fn replies_that_no_packet_can_hold_are_errors() {
    run("replies_that_are_too_large");
}

#[test]
fn who_ends_the_output_gets_the_replies_that_are_outstanding() {
    run("half_close");
}

#[test]
fn descriptors_that_a_client_passes_are_closed() {
    run("passed_descriptors");
}

#[test]
fn a_client_that_never_reads_is_bounded_and_harms_no_other() {
    run("never_reads");
}

#[test]
fn clients_that_leave_without_reading_leave_nothing_behind() {
    run("leaves_without_reading");
}

#[test]
fn an_inactive_client_is_closed_and_a_waiting_one_is_not() {
    run_configured("inactivity", |config| config.inactivity = Duration::from_secs(1));
}

#[test]
fn too_many_errors_end_the_session_once_the_last_is_delivered() {
    run_configured("consecutive_errors", |config| {
        config.max_consecutive_errors = 3;
        config.max_errors = 6;
    });
}

#[test]
fn another_user_is_kept_out_by_the_path_and_refused_by_the_server() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    run("another_user");
}
