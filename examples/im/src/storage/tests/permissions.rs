use std::os::unix::fs::PermissionsExt;

use super::threads::{Directory, create};
use crate::storage::Storage;

#[test]
fn messages_and_passwords_are_for_nobody_elses_eyes() {
    let directory = Directory::new();
    let storage = Storage::open(&directory.0).unwrap();
    create(&storage, "ann").unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.0), 0o700);
    let files: Vec<_> = std::fs::read_dir(&directory.0).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.iter().any(|file| file.ends_with("im.db-wal")), "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    storage.close();
}
