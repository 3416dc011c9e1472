//! What caused what in one conversation. Pure: facts in, nodes and edges out.
//!
//! An event names its cause: another event, the command that asked for it, or the saga that wrote it. A saga's event
//! follows from the call that it records, where there was one, else from the event before it; a call follows from the
//! newest event before it, and from what a provider had said by itself since then. What came in is matched to the event
//! that first named the same thing of the provider's.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::app::bookings::page::delivery_state;
use crate::app::place::moment;
use crate::app::wire::*;

#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// In the order of the log.
    pub events: Vec<Fact>,
    pub tries: Vec<Try>,
    pub asked: Vec<Asked>,
    pub came: Vec<Came>,
    pub owed: Vec<Owed>,
}

#[derive(Debug, Clone)]
pub struct Fact {
    pub id: Uuid,
    pub name: String,
    pub schema_version: i32,
    pub position: i64,
    pub at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    pub actor: String,
    pub subject: Option<String>,
    pub cause: Option<Uuid>,
    /// Texts in its data: what a provider calls things is among them.
    pub texts: HashSet<String>,
}

/// A try of a saga's step.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Try {
    pub saga_id: Uuid,
    pub no: i32,
    pub step: String,
    pub undoing: bool,
    pub started_at: DateTime<Utc>,
    pub result: Option<String>,
    /// Called somebody.
    pub called: bool,
    pub provider_object: Option<String>,
}

/// What somebody asked of a saga.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Asked {
    pub command_id: Uuid,
    pub action: String,
    pub requested_by: String,
    pub requested_at: DateTime<Utc>,
    pub status: String,
}

/// What a provider said by itself.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Came {
    pub external_id: String,
    pub kind: String,
    pub object_id: Option<String>,
    pub received_at: DateTime<Utc>,
    pub result: Option<String>,
}

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Owed {
    pub delivery_id: Uuid,
    pub event_id: Uuid,
    pub kind: String,
    pub template: String,
    pub state: String,
    pub attempt: i32,
    pub created_at: DateTime<Utc>,
}

pub fn graph(facts: &Facts, zone: &str) -> Result<CauseGraph, AppError> {
    let mut drawing = Drawing {
        zone,
        nodes: vec![],
        edges: vec![],
    };
    drawing.events(facts)?;
    drawing.tries(facts)?;
    drawing.asked(facts)?;
    drawing.came(facts)?;
    drawing.owed(facts)?;
    // The order of the log among events of one instant is kept: the sort is stable.
    drawing.nodes.sort_by_key(|n| n.at.utc);
    let there: HashSet<String> = drawing.nodes.iter().map(|n| n.id.clone()).collect();
    let mut seen = HashSet::new();
    drawing.edges.retain(|e| {
        there.contains(&e.from)
            && there.contains(&e.to)
            && e.from != e.to
            && seen.insert((e.from.clone(), e.to.clone()))
    });
    Ok(CauseGraph {
        nodes: drawing.nodes,
        edges: drawing.edges,
        left_out: 0,
    })
}

struct Drawing<'a> {
    zone: &'a str,
    nodes: Vec<CauseNode>,
    edges: Vec<CauseEdge>,
}

impl Drawing<'_> {
    fn node(
        &mut self,
        id: String,
        kind: CauseKind,
        what: String,
        at: DateTime<Utc>,
    ) -> Result<&mut CauseNode, AppError> {
        let at = moment(at, self.zone)?;
        self.nodes.push(CauseNode {
            id,
            kind,
            what,
            schema_version: None,
            position: None,
            at,
            actor: None,
            subject: None,
            state: None,
            mark: None,
        });
        let last = self.nodes.len() - 1;
        Ok(&mut self.nodes[last])
    }

    fn edge(&mut self, from: impl ToString, to: impl ToString, how: CauseHow) {
        self.edges.push(CauseEdge {
            from: from.to_string(),
            to: to.to_string(),
            how,
        });
    }

    fn events(&mut self, facts: &Facts) -> Result<(), AppError> {
        let known: HashSet<Uuid> = facts.events.iter().map(|e| e.id).collect();
        let sagas: HashSet<Uuid> = facts.tries.iter().map(|t| t.saga_id).collect();
        let owed: HashMap<String, Uuid> = facts
            .owed
            .iter()
            .map(|o| (o.delivery_id.to_string(), o.delivery_id))
            .collect();
        let mut commands: HashMap<Uuid, &Fact> = HashMap::new();
        for (i, event) in facts.events.iter().enumerate() {
            let node = self.node(
                event.id.to_string(),
                CauseKind::Event,
                event.name.clone(),
                event.at,
            )?;
            node.schema_version = Some(event.schema_version);
            node.position = Some(event.position);
            node.actor = Some(event.actor.clone());
            node.subject.clone_from(&event.subject);

            let before = i.checked_sub(1).map(|i| &facts.events[i]);
            let Some(cause) = event.cause else { continue };
            if let Some(delivery) = event.texts.iter().find_map(|t| owed.get(t)) {
                self.edge(delivery_id(*delivery), event.id, CauseHow::Caused);
            } else if known.contains(&cause) {
                self.edge(cause, event.id, CauseHow::Caused);
            } else if sagas.contains(&cause) {
                // One commit tells what one call led to: its first event follows from the call, the others from one another.
                let chained =
                    before.filter(|b| b.cause == Some(cause) && b.recorded_at == event.recorded_at);
                match (chained, tried(facts, cause, before, event), before) {
                    (None, Some(t), _) => self.edge(try_id(t), event.id, CauseHow::Caused),
                    (Some(b), ..) | (None, None, Some(b)) => {
                        self.edge(b.id, event.id, CauseHow::Caused);
                    }
                    (None, None, None) => {}
                }
            } else if let Some(first) = commands.get(&cause) {
                // One command, one commit: its events follow from one another in the order of the log.
                let same_commit = before.filter(|b| b.recorded_at == first.recorded_at);
                let from = same_commit.map_or_else(|| command_id(cause), |b| b.id.to_string());
                self.edge(from, event.id, CauseHow::Caused);
            } else {
                commands.insert(cause, event);
                let books = facts
                    .events
                    .iter()
                    .any(|e| e.cause == Some(cause) && e.name == "BookingCreated");
                let what = if books { "create_booking" } else { "command" };
                let node = self.node(
                    command_id(cause),
                    CauseKind::Command,
                    what.to_owned(),
                    event.at,
                )?;
                node.actor = Some(event.actor.clone());
                node.mark = Some(start_of(cause));
                // Before what it asked for, which has the same time.
                let last = self.nodes.len() - 1;
                self.nodes.swap(last - 1, last);
                self.edge(command_id(cause), event.id, CauseHow::Caused);
            }
        }
        Ok(())
    }

    fn tries(&mut self, facts: &Facts) -> Result<(), AppError> {
        for t in facts.tries.iter().filter(|t| shown(t)) {
            let what = format!("{}.{}", t.step, if t.undoing { "undo" } else { "forward" });
            let node = self.node(try_id(t), CauseKind::SagaAttempt, what, t.started_at)?;
            node.state.clone_from(&t.result);
            node.mark.clone_from(&t.provider_object);
            let before = facts.events.iter().rev().find(|e| e.at <= t.started_at);
            if let Some(before) = before {
                self.edge(before.id, try_id(t), CauseHow::Caused);
            }
            let since = before.map(|b| b.at);
            let rang = facts
                .came
                .iter()
                .filter(|c| {
                    c.received_at <= t.started_at && since.is_none_or(|s| c.received_at >= s)
                })
                .map(came_id)
                .next_back();
            if let Some(rang) = rang {
                self.edge(rang, try_id(t), CauseHow::Caused);
            }
        }
        Ok(())
    }

    fn asked(&mut self, facts: &Facts) -> Result<(), AppError> {
        for asked in &facts.asked {
            let node = self.node(
                command_id(asked.command_id),
                CauseKind::Command,
                format!("{}_booking", asked.action),
                asked.requested_at,
            )?;
            node.actor = Some(asked.requested_by.clone());
            node.state = Some(asked.status.clone());
            node.mark = Some(start_of(asked.command_id));
            // It turns the saga: what the saga does next follows from it.
            let next = facts
                .tries
                .iter()
                .filter(|t| shown(t) && t.started_at >= asked.requested_at)
                .min_by_key(|t| (t.started_at, t.no));
            let next_event = facts.events.iter().find(|e| e.at >= asked.requested_at);
            match (next, next_event) {
                (Some(t), e) if e.is_none_or(|e| t.started_at <= e.at) => {
                    self.edge(command_id(asked.command_id), try_id(t), CauseHow::Caused);
                }
                (_, Some(e)) => self.edge(command_id(asked.command_id), e.id, CauseHow::Caused),
                _ => {}
            }
        }
        Ok(())
    }

    fn came(&mut self, facts: &Facts) -> Result<(), AppError> {
        for came in &facts.came {
            let node = self.node(
                came_id(came),
                CauseKind::Signal,
                came.kind.clone(),
                came.received_at,
            )?;
            node.mark = Some(came.external_id.clone());
            node.state.clone_from(&came.result);
            let named = came
                .object_id
                .as_ref()
                .and_then(|object| facts.events.iter().find(|e| e.texts.contains(object)));
            if let Some(event) = named {
                self.edge(event.id, came_id(came), CauseHow::Matched);
            }
        }
        Ok(())
    }

    fn owed(&mut self, facts: &Facts) -> Result<(), AppError> {
        for owed in &facts.owed {
            let node = self.node(
                delivery_id(owed.delivery_id),
                CauseKind::Delivery,
                owed.kind.clone(),
                owed.created_at,
            )?;
            let state = delivery_state(&owed.state, owed.attempt);
            node.state = serde_json::to_value(state)
                .ok()
                .and_then(|word| word.as_str().map(str::to_owned));
            node.mark = Some(owed.template.clone());
            self.edge(
                owed.event_id,
                delivery_id(owed.delivery_id),
                CauseHow::Caused,
            );
        }
        Ok(())
    }
}

/// The call that the event records: the last that had begun since the event before, by the clock of the worker that wrote
/// both.
fn tried<'a>(facts: &'a Facts, saga: Uuid, before: Option<&Fact>, event: &Fact) -> Option<&'a Try> {
    facts
        .tries
        .iter()
        .filter(|t| t.saga_id == saga && shown(t) && t.started_at <= event.at)
        .filter(|t| before.is_none_or(|b| t.started_at >= b.at))
        .max_by_key(|t| t.no)
}

/// A step of our own that went well shows as its event.
fn shown(t: &Try) -> bool {
    t.called
        || !matches!(
            t.result.as_deref(),
            Some("done" | "undone" | "not_needed" | "nothing_to_undo")
        )
}

fn command_id(id: Uuid) -> String {
    format!("command:{id}")
}

fn try_id(t: &Try) -> String {
    format!("saga:{}:{}", t.saga_id, t.no)
}

fn came_id(c: &Came) -> String {
    format!("signal:{}", c.external_id)
}

fn delivery_id(id: Uuid) -> String {
    format!("delivery:{id}")
}

fn start_of(id: Uuid) -> String {
    id.to_string()[..8].to_owned()
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
