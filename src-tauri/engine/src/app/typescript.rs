//! The window's types, written from ours. `bizing-desk types` prints them; a test compares them with
//! `ui/src/backend/types.ts`.

use std::collections::BTreeMap;

use ts_rs::{Config, TS, TypeVisitor};

use super::dispatch::Commands;
use super::wire::{AppError, Hint};

/// One file with every type that `Commands`, `AppError` and `Hint` reach, sorted by name.
pub fn typescript() -> String {
    let config = Config::new();
    let mut seen = Declarations {
        config: &config,
        found: BTreeMap::new(),
    };
    seen.visit::<Commands>();
    seen.visit::<AppError>();
    seen.visit::<Hint>();
    let mut text = String::from("// Generated from Rust by `bizing-desk types`. Do not edit.\n");
    for declaration in seen.found.values() {
        text.push_str("\nexport ");
        text.push_str(declaration);
        text.push('\n');
    }
    text
}

struct Declarations<'a> {
    config: &'a Config,
    found: BTreeMap<String, String>,
}

impl TypeVisitor for Declarations<'_> {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        // Types without a file of their own (numbers, strings, lists) need no declaration.
        let named = T::output_path().is_some();
        if named {
            let name = T::ident(self.config);
            if self.found.contains_key(&name) {
                return;
            }
            self.found.insert(name, T::decl(self.config));
        }
        T::visit_dependencies(self);
        T::visit_generics(self);
    }
}
