//! What a type asks a deserializer for.

use std::cell::Cell;
use std::iter;

use serde::Deserializer;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeSeed, EnumAccess, IntoDeserializer, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::halt::{Cause, Halt};

/// How many options and newtypes are looked through.
const DEEPEST: u8 = 32;

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) asked: Cell<Option<Asked>>,
    pub(super) is_option: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Boolean,
    Integer,
    Number,
    Text,
    Array,
    Map,
    Struct(&'static [&'static str]),
    Enum(&'static [&'static str]),
    /// A variant of an enum without, or with, a value.
    Variant {
        has_value: bool,
    },
    Null,
    Anything,
}

/// A deserializer that has nothing to give: it notes down what it is asked for, and ends the run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe<'a> {
    findings: &'a Findings,
    /// An enum is given this variant, to see what that asks for.
    variant: Option<&'static str>,
    depth: u8,
}

impl<'a> Probe<'a> {
    pub(super) const fn new(findings: &'a Findings) -> Self {
        Self { findings, variant: None, depth: 0 }
    }

    pub(super) const fn into_variant(findings: &'a Findings, variant: &'static str) -> Self {
        Self { findings, variant: Some(variant), depth: 0 }
    }

    fn note<T>(self, asked: Asked) -> Result<T, Halt> {
        self.findings.asked.set(Some(asked));
        Err(Halt::new(Cause::Done))
    }

    fn deeper(self) -> Result<Self, Halt> {
        let depth = self.depth + 1;
        if depth > DEEPEST { Err(Halt::new(Cause::Exhausted)) } else { Ok(Self { depth, ..self }) }
    }
}

macro_rules! notes {
    ($($asked:ident: $($method:ident)*;)*) => {
        $($(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Halt> {
            self.note(Asked::$asked)
        })*)*
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Halt;

    notes! {
        Boolean: deserialize_bool;
        Integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
            deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128;
        Number: deserialize_f32 deserialize_f64;
        Text: deserialize_char deserialize_str deserialize_string deserialize_identifier;
        Array: deserialize_seq deserialize_bytes deserialize_byte_buf;
        Map: deserialize_map;
        Null: deserialize_unit;
        Anything: deserialize_any deserialize_ignored_any;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        self.findings.is_option.set(true);
        visitor.visit_some(self.deeper()?)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Halt> {
        visitor.visit_newtype_struct(self.deeper()?)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, _: V) -> Result<V::Value, Halt> {
        self.note(Asked::Null)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Halt> {
        self.note(Asked::Array)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        _: V,
    ) -> Result<V::Value, Halt> {
        self.note(Asked::Array)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Halt> {
        self.note(Asked::Struct(fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Halt> {
        if self.variant.is_some() { visitor.visit_enum(self) } else { self.note(Asked::Enum(variants)) }
    }
}

impl<'de> EnumAccess<'de> for Probe<'_> {
    type Error = Halt;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Halt> {
        let name = self.variant.unwrap_or_default();
        Ok((seed.deserialize(IntoDeserializer::<Halt>::into_deserializer(name))?, self))
    }
}

impl<'de> VariantAccess<'de> for Probe<'_> {
    type Error = Halt;

    fn unit_variant(self) -> Result<(), Halt> {
        self.note(Asked::Variant { has_value: false })
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Halt> {
        self.note(Asked::Variant { has_value: true })
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Halt> {
        self.note(Asked::Variant { has_value: true })
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Halt> {
        self.note(Asked::Variant { has_value: true })
    }
}

impl IntoDeserializer<'_, Halt> for Probe<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The deserializer of a struct of which but one field is there, to be looked at by a probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct OneField<'a> {
    pub(super) name: &'static str,
    pub(super) probe: Probe<'a>,
}

impl<'de> Deserializer<'de> for OneField<'_> {
    type Error = Halt;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        visitor.visit_map(MapDeserializer::new(iter::once((self.name, self.probe))))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Halt> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}
