use rusqlite::Connection;

use crate::storage::schema::migrate;

#[test]
fn a_database_that_is_up_to_date_stays_as_it_is() {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection).unwrap();
    migrate(&mut connection).unwrap();
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 1);
}

#[test]
fn a_database_of_a_later_version_is_refused() {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.pragma_update(None, "user_version", 1000).unwrap();
    let error = migrate(&mut connection).unwrap_err();
    assert!(error.contains("1000") && error.contains("newer server"), "{error}");
}

#[test]
fn queries_of_pages_do_without_sorting_all_that_there_is() {
    let database = super::Database::new();
    let plan = |sql: &str| -> String {
        let mut statement = database.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let rows = statement.query_map((), |row| row.get::<_, String>(3)).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
    };
    let history = plan(
        "SELECT text FROM messages WHERE conversation = 1 AND number > 2 AND number < 9 ORDER BY number DESC",
    );
    assert!(history.contains("messages_by_number") && !history.contains("TEMP B-TREE"), "{history}");
    let users = plan("SELECT id FROM users WHERE name >= 'a' AND name < 'b' ORDER BY name LIMIT 9");
    assert!(users.contains("SEARCH") && !users.contains("TEMP B-TREE"), "{users}");
}
