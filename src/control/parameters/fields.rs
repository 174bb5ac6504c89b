//! The fields of a type of parameters, for the help that a command gives.
//!
//! A type says nothing of itself but what it asks a deserializer for. So it is deserialized from nothing, again and again: first to
//! see its fields, then each field alone to see what it holds, and then all, with values made up for those whose lack it complains of.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;

use super::filler::Plan;
use super::halt::{Cause, Halt, Place};
use super::probe::{Asked, Findings, OneField, Probe};

/// How many values are made up for one type.
const ATTEMPTS: usize = 500;

/// A field of a struct, as it is in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// "string", "integer", "number", "boolean", "array", "object", "null", "any", or "one of" and the values.
    pub(crate) kind: String,
    /// Whether it must be there. Of a type that refuses what is made up for one field, it is taken for granted of those behind that
    /// field, but for options.
    pub(crate) required: bool,
}

/// The fields of a struct in the order of their declaration, none of a unit, and `None` of types whose fields can't be known
/// before there is a value, such as maps and structs with a flattened part.
///
/// Takes up to a millisecond, with very many fields more.
pub(crate) fn fields_of<P: DeserializeOwned>() -> Option<Vec<Field>> {
    let root = Findings::default();
    run(|| P::deserialize(Probe::new(&root)));
    let names = match root.asked.get()? {
        Asked::Struct(names) => without_aliases::<P>(names),
        Asked::Null => Vec::new(),
        _ => return None,
    };
    let mut plan = Plan::default();
    let settled = settle::<P>(&mut plan);
    let needed = plan.fields(&Place::new());
    let known = match settled {
        Settled::Whole => names.len(),
        Settled::Stuck(Some(field)) => names.iter().position(|name| *name == field).unwrap_or(0),
        Settled::Stuck(None) | Settled::Duplicate(_) => 0,
    };
    let field = |(index, &name): (usize, &&'static str)| {
        let (kind, is_option) = kind_of::<P>(name);
        Field { name, kind, required: needed.contains(&name) || (index >= known && !is_option) }
    };
    Some(names.iter().enumerate().map(field).collect())
}

/// The fields' other names are told by what a field is called in the complaint that it is there twice.
fn without_aliases<P: DeserializeOwned>(names: &[&'static str]) -> Vec<&'static str> {
    let is_main = |name: &&'static str| {
        let mut plan = Plan::default();
        plan.add_field(Place::new(), name);
        plan.add_field(Place::new(), name);
        match settle::<P>(&mut plan) {
            Settled::Duplicate(main) => main == *name || !names.contains(&main),
            Settled::Whole | Settled::Stuck(_) => true,
        }
    };
    names.iter().copied().filter(is_main).collect()
}

enum Settled {
    /// There is a value with all that it needs.
    Whole,
    /// A field of the root is there twice.
    Duplicate(&'static str),
    /// Nothing was found for a field of the root, or it isn't known for which.
    Stuck(Option<&'static str>),
}

/// Completes the plan until it makes a value.
fn settle<P: DeserializeOwned>(plan: &mut Plan) -> Settled {
    for _ in 0..ATTEMPTS {
        let (cause, mut place) = match run(|| P::deserialize(plan.value())) {
            None => return Settled::Stuck(None),
            Some(Ok(())) => return Settled::Whole,
            Some(Err(halt)) => halt.into_parts(),
        };
        let of_root = place.first().copied();
        match cause {
            Cause::Missing(field) => {
                if !plan.add_field(place, field) {
                    return Settled::Stuck(of_root);
                }
            }
            // All fields were there; it is the whole that does not please.
            Cause::Refused if of_root.is_none() => return Settled::Whole,
            Cause::Refused => plan.choose_next(place),
            Cause::Duplicate(field) if of_root.is_none() => return Settled::Duplicate(field),
            Cause::Exhausted if place.len() > 1 => {
                place.pop();
                plan.choose_next(place);
            }
            Cause::Exhausted | Cause::Duplicate(_) | Cause::Done => return Settled::Stuck(of_root),
        }
    }
    Settled::Stuck(None)
}

fn kind_of<P: DeserializeOwned>(name: &'static str) -> (String, bool) {
    let findings = Findings::default();
    run(|| P::deserialize(OneField { name, probe: Probe::new(&findings) }));
    let kind = match findings.asked.get() {
        Some(Asked::Boolean) => "boolean",
        Some(Asked::Integer) => "integer",
        Some(Asked::Number) => "number",
        Some(Asked::Text) => "string",
        Some(Asked::Array) => "array",
        Some(Asked::Map | Asked::Struct(_)) => "object",
        Some(Asked::Null) => "null",
        Some(Asked::Enum(variants)) => return (one_of::<P>(name, variants), findings.is_option.get()),
        Some(Asked::Anything | Asked::Variant { .. }) | None => "any",
    };
    (kind.to_owned(), findings.is_option.get())
}

/// The variants, those with a value, which are objects of one member, in braces.
fn one_of<P: DeserializeOwned>(field: &'static str, variants: &[&'static str]) -> String {
    let value = |variant: &&'static str| {
        let findings = Findings::default();
        run(|| P::deserialize(OneField { name: field, probe: Probe::into_variant(&findings, variant) }));
        match findings.asked.get() {
            Some(Asked::Variant { has_value: true }) => format!("{{{variant}}}"),
            _ => (*variant).to_owned(),
        }
    };
    format!("one of {}", variants.iter().map(value).collect::<Vec<_>>().join("|"))
}

/// Runs a deserialization; `None` if it panics, as the checks of a type may, that never met such values.
fn run<T>(deserialize: impl FnOnce() -> Result<T, Halt>) -> Option<Result<(), Halt>> {
    catch_unwind(AssertUnwindSafe(|| deserialize().map(drop))).ok()
}
