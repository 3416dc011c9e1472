//! `state`: a booking or a customer as it stood at a moment, told from the events alone.

use std::sync::Arc;

use bizing_engine::app::events;
use bizing_engine::app::host::{Host, HostKind};
use bizing_engine::app::wire::*;
use bizing_engine::runtime::config::Config;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::sagas::money;
use super::{failed, with_desk};
use crate::local_sandbox::LocalSandbox;
use crate::{Ended, Failed};

#[derive(clap::Args)]
pub struct State {
    /// A booking's reference or id, or the name of a stream, such as customer-0193….
    stream: String,
    #[command(flatten)]
    at: At,
    /// All that is known, as JSON.
    #[arg(long)]
    json: bool,
}

/// Without any of these: now.
#[derive(clap::Args)]
#[group(multiple = false)]
struct At {
    /// At this wall time of the place, such as 2026-11-24T11:00.
    #[arg(long, value_name = "TIME")]
    as_of: Option<String>,
    /// When the log ended with this position.
    #[arg(long)]
    position: Option<i64>,
    /// At this version of the stream.
    #[arg(long)]
    version: Option<i64>,
}

pub fn run(config: Config, asked: State) -> Ended {
    let sandbox = Arc::new(LocalSandbox::default());
    with_desk(
        || Host::with(config, HostKind::Command, false, Some(sandbox)),
        async |_, desk| {
            let stream = asked.stream;
            let at = asked.at.moment();
            let state = events::state_as_of(desk, StateAsOf { stream, at }).await;
            let state = state.map_err(failed)?;
            if asked.json {
                let all = serde_json::to_string_pretty(&state);
                println!("{}", all.map_err(|e| Failed::Run(e.to_string()))?);
            } else {
                tell(&state);
            }
            Ok(())
        },
    )
}

impl At {
    fn moment(self) -> AsOf {
        match (self.as_of, self.position, self.version) {
            (Some(wall), _, _) => AsOf::Time { wall },
            (_, Some(position), _) => AsOf::Position { position },
            (_, _, Some(version)) => AsOf::Version { version },
            (None, None, None) => AsOf::Latest,
        }
    }
}

fn tell(state: &StreamState) {
    let name = state.subject.as_ref().unwrap_or(&state.stream_id);
    let Some(shown) = state.versions.iter().find(|v| v.version == state.version) else {
        println!("{name} did not exist yet at that moment.");
        return;
    };
    println!(
        "{name}, version {} of {}: {} at {}, event {}",
        shown.version,
        state.versions.len(),
        shown.name,
        moment(&shown.at),
        shown.position
    );
    for fact in &state.facts {
        let (at, before) = (said(fact.kind, &fact.at), said(fact.kind, &fact.before));
        let changed = match at == before {
            true => String::new(),
            false => format!("   before: {before}"),
        };
        println!("  {:<16} {at}{changed}", fact.name);
    }
}

fn said(kind: FactKind, value: &Option<Value>) -> String {
    let Some(value) = value else {
        return "-".to_owned();
    };
    let known = match kind {
        FactKind::Money => read(value).map(|m: Money| money(&m)),
        FactKind::Moment => read(value).map(|m: Moment| moment(&m)),
        _ => value.as_str().map(str::to_owned),
    };
    known.unwrap_or_else(|| value.to_string())
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_value(value.clone()).ok()
}

fn moment(at: &Moment) -> String {
    format!("{} {}", at.wall.replace('T', " "), at.abbreviation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fact_is_said_by_its_kind() {
        let price = Some(json!({ "amount_minor": 18000, "currency": "EUR" }));
        assert_eq!(said(FactKind::Money, &price), "180.00 EUR");
        assert_eq!(said(FactKind::BookingState, &Some(json!("held"))), "held");
        assert_eq!(said(FactKind::Number, &Some(json!(2))), "2");
        assert_eq!(said(FactKind::Text, &None), "-");
    }
}
