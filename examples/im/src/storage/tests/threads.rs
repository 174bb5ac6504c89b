use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::protocol::{ErrorCode, Failure};
use crate::storage::{Storage, Store, StoreError};

const DEADLINE: Duration = Duration::from_secs(30);

/// A directory that goes when the test ends.
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("im-storage-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write<T: Send + 'static>(
    storage: &Storage,
    run: impl FnOnce(&Store<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    let (give, result) = mpsc::channel();
    storage.write(run, move |result| give.send(result).unwrap());
    result.recv_timeout(DEADLINE).unwrap()
}

fn read<T: Send + 'static>(
    storage: &Storage,
    run: impl FnOnce(&Store<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    let (give, result) = mpsc::channel();
    storage.read(run, move |result| give.send(result).unwrap());
    result.recv_timeout(DEADLINE).unwrap()
}

pub(super) fn create(storage: &Storage, name: &'static str) -> Result<(), Failure> {
    write(storage, move |store| store.create_user(name, "hash", "").map(drop))
}

fn exists(storage: &Storage, name: &'static str) -> bool {
    read(storage, move |store| store.credentials_by_name(name)).unwrap().is_some()
}

#[test]
fn what_was_written_is_read_and_survives_closing() {
    let directory = Directory::new();
    let storage = Storage::open(&directory.0).unwrap();
    create(&storage, "ann").unwrap();
    assert!(exists(&storage, "ann"));
    storage.close();
    drop(storage);
    let storage = Storage::open(&directory.0).unwrap();
    assert!(exists(&storage, "ann") && !exists(&storage, "bob"));
    storage.close();
}

#[test]
fn results_come_in_the_order_of_the_operations() {
    let directory = Directory::new();
    let storage = Storage::open(&directory.0).unwrap();
    let (give, results) = mpsc::channel();
    for number in 0..1000 {
        let give = give.clone();
        storage.write(
            move |store| store.create_user(&format!("u{number}"), "", ""),
            move |result| {
                give.send((number, result.unwrap().0)).unwrap();
            },
        );
    }
    let all: Vec<(i64, i64)> = (0..1000).map(|_| results.recv_timeout(DEADLINE).unwrap()).collect();
    assert_eq!(all, (0..1000).map(|number| (number, number + 1)).collect::<Vec<_>>());
    storage.close();
}

#[test]
fn an_operation_that_is_refused_leaves_nothing_behind_and_takes_no_other_with_it() {
    let directory = Directory::new();
    let storage = Storage::open(&directory.0).unwrap();
    let (give, results) = mpsc::channel();
    for name in ["one", "refused", "two"] {
        let give = give.clone();
        storage.write(
            move |store| {
                store.create_user(name, "", "")?;
                if name == "refused" { store.create_user("one", "", "").map(drop) } else { Ok(()) }
            },
            move |result| give.send(result.map_err(|failure| failure.code)).unwrap(),
        );
    }
    let all: Vec<_> = (0..3).map(|_| results.recv_timeout(DEADLINE).unwrap()).collect();
    assert_eq!(all, [Ok(()), Err(ErrorCode::NameTaken), Ok(())]);
    assert!(exists(&storage, "one") && exists(&storage, "two") && !exists(&storage, "refused"));
    storage.close();
}

#[test]
fn an_operation_that_panics_fails_and_the_next_ones_are_done() {
    let directory = Directory::new();
    let storage = Storage::open(&directory.0).unwrap();
    let panicking = |store: &Store<'_>| -> Result<(), StoreError> {
        store.create_user("ann", "", "").map(drop)?;
        panic!("on purpose");
    };
    assert_eq!(write(&storage, panicking).unwrap_err().code, ErrorCode::StorageFailed);
    let panicking = |_: &Store<'_>| -> Result<(), StoreError> { panic!("on purpose") };
    assert_eq!(read(&storage, panicking).unwrap_err().code, ErrorCode::StorageFailed);
    storage.write(|_| Ok(()), |_| panic!("on purpose"));
    storage.read(|_| Ok(()), |_| panic!("on purpose"));
    assert!(!exists(&storage, "ann"));
    create(&storage, "bob").unwrap();
    assert!(exists(&storage, "bob"));
    storage.close();
}

#[test]
fn a_full_database_fails_operations_and_takes_them_again_when_there_is_room() {
    let directory = Directory::new();
    let storage = Storage::open(&directory.0).unwrap();
    create(&storage, "ann").unwrap();
    write(&storage, |store| limit_pages(store, 1)).unwrap();
    let long = "x".repeat(1_000_000);
    let refused = write(&storage, move |store| store.create_user("bob", &long, ""));
    assert_eq!(refused.unwrap_err().code, ErrorCode::StorageFailed);
    assert!(exists(&storage, "ann") && !exists(&storage, "bob"));
    write(&storage, |store| limit_pages(store, 1_000_000)).unwrap();
    create(&storage, "bob").unwrap();
    storage.close();
}

/// As much as there is already if that is more.
fn limit_pages(store: &Store<'_>, pages: u32) -> Result<(), StoreError> {
    let sql = format!("PRAGMA max_page_count = {pages}");
    Ok(store.connection.query_row(&sql, (), |_| Ok(()))?)
}

#[test]
fn what_finds_the_queue_full_is_refused_as_busy() {
    let directory = Directory::new();
    let storage = Storage::open(&directory.0).unwrap();
    let (go, gate) = mpsc::channel::<()>();
    let (give, results) = mpsc::channel();
    storage.write(
        move |_| {
            gate.recv_timeout(DEADLINE).unwrap();
            Ok(())
        },
        |_| {},
    );
    let queued = super::super::QUEUE * 2;
    for _ in 0..queued {
        let give = give.clone();
        storage.write(|_| Ok(()), move |result| give.send(result.map_err(|failure| failure.code)).unwrap());
    }
    assert_eq!(results.recv_timeout(DEADLINE).unwrap(), Err(ErrorCode::Busy));
    go.send(()).unwrap();
    let done = (1..queued).filter(|_| results.recv_timeout(DEADLINE).unwrap().is_ok()).count();
    // One less if the first operation was still waiting itself.
    assert!(done >= super::super::QUEUE - 1, "{done}");
    storage.close();
}

#[test]
fn what_is_queued_before_closing_is_done_and_what_comes_after_fails() {
    let directory = Directory::new();
    let storage = Storage::open(&directory.0).unwrap();
    let (give, results) = mpsc::channel();
    for number in 0..100 {
        let give = give.clone();
        storage.write(
            move |store| store.create_user(&format!("u{number}"), "", ""),
            move |result| {
                give.send(result.is_ok()).unwrap();
            },
        );
    }
    storage.close();
    assert!((0..100).all(|_| results.try_recv().unwrap()));
    assert_eq!(create(&storage, "late").unwrap_err().code, ErrorCode::StorageFailed);
}

#[test]
fn a_second_server_in_the_same_directory_is_refused() {
    let directory = Directory::new();
    let storage = Storage::open(&directory.0).unwrap();
    let error = Storage::open(&directory.0).unwrap_err().to_string();
    assert!(error.contains("another server"), "{error}");
    storage.close();
}
