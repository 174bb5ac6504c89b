//! The tables, and how a database of an earlier version gets them.

use rusqlite::Connection;

/// One script for each version; a database's `user_version` is how many of them it has seen. Those that were released are never
/// changed: what is to be different is one script more.
const VERSIONS: &[&str] = &["
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    password TEXT NOT NULL,
    nickname TEXT NOT NULL,
    signature TEXT NOT NULL DEFAULT '',
    created INTEGER NOT NULL
) STRICT;

-- A friendship is two rows, one for the view of each.
CREATE TABLE friendships (
    user INTEGER NOT NULL REFERENCES users,
    friend INTEGER NOT NULL REFERENCES users,
    remark TEXT NOT NULL DEFAULT '',
    team TEXT,
    PRIMARY KEY (user, friend),
    FOREIGN KEY (user, team) REFERENCES teams (user, name) ON UPDATE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX friendships_by_team ON friendships (user, team) WHERE team IS NOT NULL;

CREATE TABLE applications (
    user INTEGER NOT NULL REFERENCES users,
    applicant INTEGER NOT NULL REFERENCES users,
    text TEXT NOT NULL,
    time INTEGER NOT NULL,
    PRIMARY KEY (user, applicant)
) STRICT, WITHOUT ROWID;

CREATE TABLE teams (
    user INTEGER NOT NULL REFERENCES users,
    name TEXT NOT NULL,
    PRIMARY KEY (user, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    last_number INTEGER NOT NULL DEFAULT 0,
    last_position INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The conversations of two users.
CREATE TABLE pairs (
    low INTEGER NOT NULL REFERENCES users,
    high INTEGER NOT NULL REFERENCES users,
    conversation INTEGER NOT NULL REFERENCES conversations,
    PRIMARY KEY (low, high)
) STRICT, WITHOUT ROWID;

CREATE TABLE groups (
    conversation INTEGER PRIMARY KEY REFERENCES conversations,
    name TEXT NOT NULL COLLATE NOCASE,
    members INTEGER NOT NULL
) STRICT;
CREATE INDEX groups_by_name ON groups (name);

-- Who takes part in a conversation, or did: messages behind the first of these bounds and up to the second are for the user.
CREATE TABLE memberships (
    user INTEGER NOT NULL REFERENCES users,
    conversation INTEGER NOT NULL REFERENCES conversations,
    peer INTEGER REFERENCES users, -- the other one of a conversation of two
    after_position INTEGER NOT NULL,
    after_number INTEGER NOT NULL,
    until_position INTEGER, -- none while the user takes part
    until_number INTEGER
) STRICT;
CREATE INDEX memberships_of_user ON memberships (user, conversation);
CREATE UNIQUE INDEX members ON memberships (conversation, user) WHERE until_position IS NULL;

CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- the position
    conversation INTEGER NOT NULL REFERENCES conversations,
    number INTEGER NOT NULL,
    sender INTEGER NOT NULL REFERENCES users,
    client INTEGER NOT NULL,
    client_id TEXT NOT NULL,
    time INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX messages_by_number ON messages (conversation, number);
CREATE UNIQUE INDEX messages_by_client_id ON messages (conversation, sender, client_id);
-- Has all that is asked of a message before it is delivered.
CREATE INDEX messages_by_position ON messages (conversation, id, sender, client);

CREATE TABLE cursors (
    user INTEGER NOT NULL REFERENCES users,
    client INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (user, client)
) STRICT, WITHOUT ROWID;

CREATE TABLE read_markers (
    conversation INTEGER NOT NULL REFERENCES conversations,
    user INTEGER NOT NULL REFERENCES users,
    number INTEGER NOT NULL,
    PRIMARY KEY (conversation, user)
) STRICT, WITHOUT ROWID;
"];

/// Brings a database up to date.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), String> {
    let version: u32 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| error.to_string())?;
    let Some(missing) = VERSIONS.get(version as usize..) else {
        return Err(format!(
            "it has version {version}, and this server knows versions up to {}: use a newer server",
            VERSIONS.len()
        ));
    };
    for (script, version) in missing.iter().zip(version + 1..) {
        apply(connection, script, version).map_err(|error| format!("version {version}: {error}"))?;
    }
    Ok(())
}

fn apply(connection: &mut Connection, script: &str, version: u32) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(script)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}
