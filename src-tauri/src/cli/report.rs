//! `report`: what the read models say that no page shows, as a table, as comma-separated values or as JSON.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use bizing_engine::app::csv;
use bizing_engine::app::host::{Host, HostKind};
use bizing_engine::app::reports::{self, AsOf, Column, Kind, Range, Report, Row};
use bizing_engine::app::wire::{AppError, Code, Money};
use bizing_engine::runtime::config::Config;
use chrono::NaiveDate;
use serde_json::{Map, Value};

use super::sagas::money;
use super::{failed, with_desk};
use crate::local_sandbox::LocalSandbox;
use crate::{Ended, Failed};

#[derive(clap::Subcommand)]
pub enum Asked {
    /// Each day: bookings, visits, who did not come, how full the day was, revenue by currency.
    Daily {
        #[command(flatten)]
        days: Days,
        #[command(flatten)]
        layout: Layout,
    },
    /// Payments by account and currency, debits beside credits.
    Ledger {
        #[command(flatten)]
        days: Days,
        #[command(flatten)]
        layout: Layout,
    },
    /// Customers: bookings, visits, no-shows and what they spent here in all.
    Customer {
        /// Only whom this finds: an id, an e-mail address, a booking's reference, words of a name.
        #[arg(long)]
        customer: Option<String>,
        #[command(flatten)]
        layout: Layout,
    },
}

#[derive(clap::Args)]
pub struct Days {
    /// From this day of the place on, such as 2026-11-01.
    #[arg(long, value_parser = day)]
    from: Option<NaiveDate>,
    /// Up to and with this day.
    #[arg(long, value_parser = day)]
    to: Option<NaiveDate>,
}

#[derive(clap::Args)]
pub struct Layout {
    /// One object: `rows`, then of which position they are. Amounts are in minor units.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Comma-separated values. Amounts are in minor units.
    #[arg(long)]
    csv: bool,
}

pub fn run(config: Config, asked: Asked) -> Ended {
    let (report, layout) = match asked {
        Asked::Daily { days, layout } => (Report::Daily(days.range()?), layout),
        Asked::Ledger { days, layout } => (Report::Ledger(days.range()?), layout),
        Asked::Customer { customer, layout } => (Report::Customers(customer), layout),
    };
    let sandbox = Arc::new(LocalSandbox::default());
    with_desk(
        || Host::with(config, HostKind::Command, false, Some(sandbox)),
        async |_, desk| {
            let mut page = Page::begin(report.columns(), &layout).map_err(unwritten)?;
            let as_of = reports::read(desk, &report, |row| page.row(row).map_err(stopped)).await;
            page.end(as_of.map_err(failed)?).map_err(unwritten)
        },
    )
}

impl Days {
    fn range(&self) -> Result<Range, Failed> {
        match (self.from, self.to) {
            (Some(from), Some(to)) if to < from => Err(Failed::Usage(format!(
                "The range ends on {to}, before it begins on {from}: write the earlier day with --from."
            ))),
            (from, to) => Ok(Range { from, to }),
        }
    }
}

fn day(text: &str) -> Result<NaiveDate, String> {
    text.parse()
        .map_err(|_| "this is no day: write year, month and day, as in 2026-11-27".to_owned())
}

fn stopped(error: std::io::Error) -> AppError {
    AppError::new(
        Code::Internal,
        format!("The report could not be written: {error}."),
    )
}

fn unwritten(error: std::io::Error) -> Failed {
    failed(stopped(error))
}

enum Shape {
    Table,
    Csv,
    Json,
}

/// What is written, row by row: nothing is kept.
struct Page {
    columns: &'static [Column],
    shape: Shape,
    out: BufWriter<std::io::Stdout>,
    rows: u64,
}

impl Page {
    fn begin(columns: &'static [Column], layout: &Layout) -> std::io::Result<Page> {
        let shape = match (layout.json, layout.csv) {
            (true, _) => Shape::Json,
            (_, true) => Shape::Csv,
            _ => Shape::Table,
        };
        let mut out = BufWriter::new(std::io::stdout());
        let names = columns.iter().map(|c| c.name);
        match shape {
            Shape::Json => write!(out, "{{\"rows\":[")?,
            Shape::Csv => writeln!(out, "{}", names.collect::<Vec<_>>().join(","))?,
            Shape::Table => writeln!(out, "{}", line(columns, names.map(title)))?,
        }
        Ok(Page {
            columns,
            shape,
            out,
            rows: 0,
        })
    }

    fn row(&mut self, row: Row) -> std::io::Result<()> {
        match self.shape {
            Shape::Json => {
                let comma = if self.rows == 0 { "" } else { "," };
                write!(self.out, "{comma}\n{}", object(self.columns, &row))?;
            }
            Shape::Csv => {
                let fields = row.iter().map(|c| csv::field(c.as_deref().unwrap_or("")));
                writeln!(self.out, "{}", fields.collect::<Vec<_>>().join(","))?;
            }
            Shape::Table => {
                let currency = currency(self.columns, &row).unwrap_or_default();
                let cells = self.columns.iter().zip(&row);
                let cells = cells.map(|(c, cell)| shown(c.kind, cell.as_deref(), currency));
                writeln!(self.out, "{}", line(self.columns, cells))?;
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// A file for a program stays free of sentences: there they go to stderr.
    fn end(mut self, as_of: AsOf) -> std::io::Result<()> {
        let AsOf {
            position,
            behind_seconds: behind,
        } = as_of;
        let rows = match self.rows {
            1 => "1 row".to_owned(),
            n => format!("{n} rows"),
        };
        let sentence = format!("{rows}, as of position {position}, {behind:.0} s behind.");
        match self.shape {
            Shape::Json => writeln!(
                self.out,
                "\n],\"position\":{position},\"behind_seconds\":{behind:.3}}}"
            )?,
            Shape::Csv => eprintln!("{sentence}"),
            Shape::Table => writeln!(self.out, "{sentence}")?,
        }
        self.out.flush()
    }
}

fn currency<'r>(columns: &[Column], row: &'r Row) -> Option<&'r str> {
    let at = columns.iter().position(|c| c.name == "currency")?;
    row.get(at)?.as_deref()
}

fn title(name: &str) -> String {
    name.replace('_', " ")
}

/// Of one width each, as far as it goes: rows are written as they come, so none can wait for a longer one.
fn line(columns: &[Column], cells: impl Iterator<Item = String>) -> String {
    let cells = columns.iter().zip(cells).map(|(column, cell)| {
        let width = width(column);
        match column.kind {
            Kind::Text | Kind::Truth => format!("{cell:<width$}"),
            Kind::Number | Kind::Minor | Kind::Share => format!("{cell:>width$}"),
        }
    });
    let line = cells.collect::<Vec<_>>().join("  ");
    line.trim_end().to_owned()
}

fn width(column: &Column) -> usize {
    let content = match (column.name, column.kind) {
        ("customer_id", _) => 36,
        ("name", _) => 26,
        ("account" | "first_booking" | "last_start", _) => 20,
        ("day", _) => 10,
        (_, Kind::Minor) => 16,
        _ => 6,
    };
    content.max(column.name.len())
}

fn shown(kind: Kind, cell: Option<&str>, currency: &str) -> String {
    let Some(cell) = cell else {
        return match kind {
            Kind::Truth => String::new(),
            _ => "-".to_owned(),
        };
    };
    match (kind, cell.parse::<f64>()) {
        (Kind::Minor, _) => cell.parse().map_or_else(
            |_| cell.to_owned(),
            |amount_minor| {
                money(&Money {
                    amount_minor,
                    currency: currency.to_owned(),
                })
            },
        ),
        (Kind::Share, Ok(share)) => format!("{:.1} %", share * 100.0),
        (Kind::Truth, _) => match cell {
            "true" => "debits = credits".to_owned(),
            _ => "DEBITS AND CREDITS DIFFER".to_owned(),
        },
        _ => cell.to_owned(),
    }
}

fn object(columns: &[Column], row: &Row) -> Value {
    let cells = columns.iter().zip(row).map(|(column, cell)| {
        let value = match (column.kind, cell) {
            (_, None) => Value::Null,
            (Kind::Text, Some(text)) => Value::String(text.clone()),
            // Numbers and truths of the database are JSON as they stand.
            (_, Some(text)) => serde_json::from_str(text).unwrap_or(Value::Null),
        };
        (column.name.to_owned(), value)
    });
    Value::Object(cells.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_day_of_the_calendar() {
        assert!(day("2026-11-27").is_ok());
        for bad in ["2026-13-01", "2026-02-30", "27.11.2026", "yesterday", ""] {
            assert!(day(bad).unwrap_err().contains("2026-11-27"), "{bad}");
        }
    }

    #[test]
    fn cells_are_shown_in_their_units_and_given_as_they_are() {
        assert_eq!(shown(Kind::Minor, Some("9505"), "EUR"), "95.05 EUR");
        assert_eq!(shown(Kind::Share, Some("0.1250"), ""), "12.5 %");
        assert_eq!(shown(Kind::Share, None, ""), "-");
        let columns = [
            Column {
                name: "currency",
                kind: Kind::Text,
            },
            Column {
                name: "debits",
                kind: Kind::Minor,
            },
        ];
        let row = vec![Some("EUR".to_owned()), Some("-5".to_owned())];
        assert_eq!(
            object(&columns, &row).to_string(),
            r#"{"currency":"EUR","debits":-5}"#
        );
        assert_eq!(currency(&columns, &row), Some("EUR"));
    }
}
