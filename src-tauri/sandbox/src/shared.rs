//! What all requests and tasks of one sandbox share.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::{faults::Faults, webhook::Deliveries, world::World};

pub struct Shared {
    pub world: Mutex<World>,
    pub faults: Faults,
    pub deliveries: Deliveries,
    pub secret_key: String,
    in_flight: Mutex<HashSet<String>>,
}

impl Shared {
    pub fn new(world: World, secret_key: String) -> Shared {
        Shared {
            world: Mutex::new(world),
            faults: Faults::default(),
            deliveries: Deliveries::default(),
            secret_key,
            in_flight: Mutex::default(),
        }
    }

    /// Marks the key as being worked on. `None`: it already is.
    pub fn begin(&self, key: &str) -> Option<InFlight<'_>> {
        let mut keys = self
            .in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.to_owned()).then(|| InFlight {
            shared: self,
            key: key.to_owned(),
        })
    }
}

pub struct InFlight<'a> {
    shared: &'a Shared,
    key: String,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.shared
            .in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}
