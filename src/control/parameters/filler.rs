//! Values made up for a type, to see which of its fields it can do without.

use std::cell::Cell;
use std::collections::HashMap;
use std::slice;

use serde::Deserializer;
use serde::de::{
    DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::halt::{Cause, Halt, Place};

/// How deep a made-up value may be.
const DEEPEST: usize = 16;
/// How many values a made-up value may consist of.
const LARGEST: usize = 1000;

/// Texts that one or the other type makes something of.
const TEXTS: [&str; 8] = ["a", "1", "127.0.0.1", "127.0.0.1:1", "::1", "1-1", "/a", ""];

/// What is known to be needed, by place: nothing, to begin with.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The fields that a struct is given.
    fields: HashMap<Place, Vec<&'static str>>,
    /// Which of the values that come into question for a place it is given, if not the first.
    choices: HashMap<Place, usize>,
    /// How many values have been asked for in this run.
    asked: Cell<usize>,
}

impl Plan {
    /// Gives the struct at this place another field; `false` if it had that already.
    pub(super) fn add_field(&mut self, place: Place, field: &'static str) -> bool {
        let fields = self.fields.entry(place).or_default();
        let is_new = !fields.contains(&field);
        fields.push(field);
        is_new
    }

    /// Gives this place another value, so that all within it is open again.
    pub(super) fn choose_next(&mut self, place: Place) {
        self.choices.retain(|other, _| *other == place || !other.starts_with(&place));
        *self.choices.entry(place).or_default() += 1;
    }

    pub(super) fn fields(&self, place: &Place) -> &[&'static str] {
        self.fields.get(place).map_or(&[], Vec::as_slice)
    }

    pub(super) fn value(&self) -> Filler<'_> {
        self.asked.set(0);
        Filler { plan: self, place: Place::new(), depth: 0 }
    }
}

/// A deserializer that gives what the plan says.
#[derive(Clone, Debug)]
pub(super) struct Filler<'a> {
    plan: &'a Plan,
    place: Place,
    depth: usize,
}

impl<'a> Filler<'a> {
    fn choose<T: Copy>(&self, values: &[T]) -> Result<T, Halt> {
        let choice = self.plan.choices.get(&self.place).copied().unwrap_or(0);
        values.get(choice).copied().ok_or(Halt::new(Cause::Exhausted))
    }

    fn deeper(mut self) -> Result<Self, Halt> {
        self.depth += 1;
        self.plan.asked.set(self.plan.asked.get() + 1);
        if self.depth > DEEPEST || self.plan.asked.get() > LARGEST {
            return Err(Halt::new(Cause::Exhausted));
        }
        Ok(self)
    }

    fn part<T>(&self, name: &'static str, give: impl FnOnce(Self) -> Result<T, Halt>) -> Result<T, Halt> {
        let mut part = self.clone();
        part.place.push(name);
        let place = part.place.clone();
        part.deeper().and_then(give).map_err(|halt| halt.at(&place))
    }

    fn elements(self, left: usize) -> Elements<'a> {
        Elements { filler: self, left }
    }

    fn fields(self) -> Fields<'a> {
        let plan = self.plan;
        Fields { names: plan.fields(&self.place).iter(), name: "", filler: self }
    }
}

macro_rules! gives {
    ($($visit:ident($values:expr): $($method:ident)*;)*) => {
        $($(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
            visitor.$visit(self.choose(&$values)?)
        })*)*
    };
}

impl<'de> Deserializer<'de> for Filler<'_> {
    type Error = Halt;

    gives! {
        visit_bool([false, true]): deserialize_bool;
        visit_u64([1, 0, 2, 10, 100, 1000]): deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
            deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128;
        visit_f64([1.0, 0.0, 0.5, 10.0]): deserialize_f32 deserialize_f64;
        visit_str(TEXTS): deserialize_char deserialize_str deserialize_string deserialize_identifier;
        visit_bytes([&b"a"[..], b""]): deserialize_bytes deserialize_byte_buf;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        match self.choose(&[0, 1, 2, 3, 4, 5])? {
            0 => visitor.visit_unit(),
            1 => visitor.visit_bool(false),
            2 => visitor.visit_u64(1),
            3 => visitor.visit_str("a"),
            4 => visitor.visit_seq(self.elements(0)),
            _ => visitor.visit_map(self.fields()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        self.choose(&[()])?;
        visitor.visit_none()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        self.choose(&[()])?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Halt> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Halt> {
        visitor.visit_newtype_struct(self.deeper()?)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        let length = self.choose(&[0, 1, 2])?;
        visitor.visit_seq(self.elements(length))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Halt> {
        self.choose(&[()])?;
        visitor.visit_seq(self.elements(length))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Halt> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Halt> {
        let length = self.choose(&[0, 1])?;
        visitor.visit_map(self.elements(length))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Halt> {
        self.choose(&[()])?;
        visitor.visit_map(self.fields())
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Halt> {
        let name = self.choose(variants)?;
        visitor.visit_enum(Variant { filler: self, name })
    }
}

/// The elements of a sequence, or the entries of a map.
struct Elements<'a> {
    filler: Filler<'a>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Halt;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Halt> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.filler.part("[]", |part| seed.deserialize(part)).map(Some)
    }
}

impl<'de> MapAccess<'de> for Elements<'_> {
    type Error = Halt;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Halt> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.filler.part("key", |part| seed.deserialize(part)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Halt> {
        self.filler.part("value", |part| seed.deserialize(part))
    }
}

/// The fields that the plan gives to a struct.
struct Fields<'a> {
    filler: Filler<'a>,
    names: slice::Iter<'a, &'static str>,
    name: &'static str,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Halt;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Halt> {
        let Some(name) = self.names.next() else { return Ok(None) };
        self.name = name;
        seed.deserialize(IntoDeserializer::<Halt>::into_deserializer(*name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Halt> {
        self.filler.part(self.name, |part| seed.deserialize(part))
    }
}

/// One variant of an enum.
struct Variant<'a> {
    filler: Filler<'a>,
    name: &'static str,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Halt;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Halt> {
        Ok((seed.deserialize(IntoDeserializer::<Halt>::into_deserializer(self.name))?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Halt;

    fn unit_variant(self) -> Result<(), Halt> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Halt> {
        self.filler.part(self.name, |part| seed.deserialize(part))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Halt> {
        self.filler.part(self.name, |part| part.deserialize_tuple(length, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Halt> {
        self.filler.part(self.name, |part| part.deserialize_struct(self.name, fields, visitor))
    }
}
