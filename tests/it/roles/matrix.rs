//! Everything there is, tried by everybody, as a matrix to be reviewed like code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use sqlx::PgConnection;

use super::{Relation, World, has, may};
use crate::support::db::GROUPS;

/// Letters for what a group may do with a relation. Each answer of the catalogue is held against a real attempt.
async fn letters(
    conn: &mut PgConnection,
    group: &str,
    r: &Relation,
    notes: &mut BTreeMap<String, String>,
) -> String {
    let schema = r.name.split('.').next().unwrap();
    let inside = has(conn, &format!("has_schema_privilege('{schema}', 'usage')")).await;
    let name = &r.name;
    let mut out = String::new();
    if r.kind == 'S' {
        for (letter, right, sql) in [
            ('s', "select", format!("select last_value from {name}")),
            ('n', "usage, update", format!("select nextval('{name}')")),
        ] {
            let granted = inside
                && has(
                    conn,
                    &format!("has_sequence_privilege('{name}', '{right}')"),
                )
                .await;
            assert_eq!(may(conn, &sql).await, granted, "{group}: {sql}");
            out.extend(granted.then_some(letter));
        }
        return out;
    }
    let is_table = matches!(r.kind, 'r' | 'p');
    let tries = [
        ('s', "select", format!("select * from {name} limit 0")),
        ('i', "insert", format!("insert into {name} default values")),
        ('d', "delete", format!("delete from {name} where false")),
        ('t', "truncate", format!("truncate {name}")),
    ];
    for (letter, right, sql) in tries {
        let granted =
            inside && has(conn, &format!("has_table_privilege('{name}', '{right}')")).await;
        // A view that cannot be written is refused before anybody asks for rights.
        if is_table || granted || letter == 's' {
            assert_eq!(may(conn, &sql).await, granted, "{group}: {sql}");
        }
        out.extend(granted.then_some(letter));
    }
    for (whole, some, right) in [('s', 'r', "select"), ('u', 'c', "update")] {
        let mut columns = vec![];
        for column in &r.columns {
            let granted = inside
                && has(
                    conn,
                    &format!("has_column_privilege('{name}', '{column}', '{right}')"),
                )
                .await;
            if is_table {
                let sql = if right == "select" {
                    format!("select \"{column}\" from {name} limit 0")
                } else {
                    format!("update {name} set \"{column}\" = default where false")
                };
                assert_eq!(may(conn, &sql).await, granted, "{group}: {sql}");
            }
            columns.extend(granted.then_some(column.as_str()));
        }
        if columns.len() == r.columns.len() {
            out.extend((whole != 's').then_some(whole));
        } else if !columns.is_empty() {
            out.push(some);
            notes.insert(format!("{some} {name} by {group}"), columns.join(", "));
        }
    }
    out
}

#[tokio::test]
async fn the_matrix_of_rights_is_the_one_that_was_reviewed() {
    let w = World::new().await;
    let mut conns = vec![];
    for group in GROUPS {
        conns.push((group, w.login(group).await));
    }
    let mut out = String::from(
        "Who may do what. Written by tests/it/roles.rs: UPDATE_SNAPSHOTS=1 cargo test --no-default-features --test it roles\n\n",
    );
    let row = |out: &mut String, name: &str, cells: &[String]| {
        let cells: String = cells
            .iter()
            .map(|c| format!("{:<9}", if c.is_empty() { "." } else { c }))
            .collect();
        writeln!(out, "{name:<34}{}", cells.trim_end()).unwrap();
    };
    let heads = GROUPS.map(str::to_owned);

    row(&mut out, "functions: x = may call", &heads);
    for f in &w.functions {
        let mut cells = vec![];
        for (group, conn) in &mut conns {
            let schema = f.name.split('.').next().unwrap();
            let granted = has(conn, &format!("has_schema_privilege('{schema}', 'usage') and has_function_privilege('{}', 'execute')", f.signature)).await;
            assert_eq!(may(conn, &f.call).await, granted, "{group}: {}", f.call);
            cells.push(if granted {
                "x".to_owned()
            } else {
                String::new()
            });
        }
        row(&mut out, &f.name, &cells);
    }

    out.push('\n');
    row(&mut out, "relations", &heads);
    out.push_str("  s select, i insert, d delete, t truncate, u update, r and c select and update of some columns, n next number\n");
    let mut notes = BTreeMap::new();
    for r in &w.relations {
        let mut cells = vec![];
        for (group, conn) in &mut conns {
            cells.push(letters(conn, group, r, &mut notes).await);
        }
        row(&mut out, &r.name, &cells);
    }
    out.push('\n');
    for (what, columns) in notes {
        writeln!(out, "{what}: {columns}").unwrap();
    }

    out.push_str("\nevents: who may append them\n");
    for line in w.list("select rpad(t.name, 34) || coalesce((select string_agg(group_name, ' ' order by group_name) from core.event_rights r where r.name = t.name), 'nobody') from (select distinct name from core.event_types) t order by t.name").await {
        writeln!(out, "{line}").unwrap();
    }
    compare("roles.txt", &out);
}

/// `UPDATE_SNAPSHOTS=1` writes what is; review the difference as you review code.
fn compare(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/snapshots")
        .join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let changed: Vec<String> = got
        .lines()
        .filter(|l| !kept.lines().any(|k| k == *l))
        .map(|l| format!("+ {l}"))
        .chain(
            kept.lines()
                .filter(|k| !got.lines().any(|l| l == *k))
                .map(|k| format!("- {k}")),
        )
        .collect();
    assert_eq!(
        got,
        kept,
        "{name} changed; if it should, write it anew with UPDATE_SNAPSHOTS=1:\n{}",
        changed.join("\n")
    );
}
