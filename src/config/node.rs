//! The settings as written, before any key has a type.
//!
//! A scalar keeps its text, so that a number becomes a decimal without passing through a float, and
//! an environment variable is read as whatever type its key asks for. Every fault found while a
//! [`Node`] is turned into a typed value carries the path of its key.

use std::collections::{BTreeMap, btree_map};

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use toml::de::{DeTable, DeValue};

use super::decimal::Decimal6;
use super::error::Fault;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Bool,
    Date,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::Date => "a date",
        }
    }
}

pub(super) enum Node {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    Scalar(Kind, String),
    /// From an environment variable: of any kind, and a comma-separated list as well.
    Variable(String, Vec<Node>),
}

impl Node {
    /// Parses a whole TOML document.
    pub(super) fn parse(source: &str) -> Result<Self, toml::de::Error> {
        Ok(Self::from_table(DeTable::parse(source)?.into_inner()))
    }

    pub(super) fn variable(text: String) -> Self {
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|_| !text.trim().is_empty())
            .map(|item| Self::Variable(item.to_owned(), Vec::new()))
            .collect();
        Self::Variable(text, items)
    }

    /// The text of the scalar at `section.key`, if there is one.
    pub(super) fn text_at(&self, section: &str, key: &str) -> Option<&str> {
        let Self::Table(sections) = self else {
            return None;
        };
        match sections.get(section)? {
            Self::Table(keys) => match keys.get(key)? {
                Self::Scalar(_, text) | Self::Variable(text, _) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// Sets `section.key`; a section that is no table is left for the typed reading to refuse.
    pub(super) fn set(&mut self, section: &str, key: &str, value: Node) {
        if let Self::Table(sections) = self
            && let Self::Table(keys) =
                sections.entry(section.to_owned()).or_insert_with(|| Self::Table(BTreeMap::new()))
        {
            keys.insert(key.to_owned(), value);
        }
    }

    fn from_table(table: DeTable<'_>) -> Self {
        let entries = table.into_iter();
        Self::Table(
            entries
                .map(|(key, value)| {
                    let key = key.into_inner().into_owned();
                    (key, Self::from_value(value.into_inner()))
                })
                .collect(),
        )
    }

    fn from_value(value: DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Scalar(Kind::Text, text.into_owned()),
            DeValue::Integer(number) => {
                let plain = i128::from_str_radix(number.as_str(), number.radix())
                    .map_or_else(|_| number.to_string(), |value| value.to_string());
                Self::Scalar(Kind::Number, plain)
            }
            DeValue::Float(number) => Self::Scalar(Kind::Number, number.as_str().to_owned()),
            DeValue::Boolean(value) => Self::Scalar(Kind::Bool, value.to_string()),
            DeValue::Datetime(date) => Self::Scalar(Kind::Date, date.to_string()),
            DeValue::Array(items) => {
                Self::List(items.into_iter().map(|item| Self::from_value(item.into_inner())).collect())
            }
            DeValue::Table(table) => Self::from_table(table),
        }
    }

    /// The text of a scalar of this kind. The value found is not quoted: it may be a misplaced secret.
    fn text(&self, wanted: Kind) -> Result<&str, Fault> {
        match self {
            Self::Scalar(kind, text) if *kind == wanted => Ok(text),
            Self::Variable(text, _) => Ok(text),
            _ => Err(self.instead_of(wanted.name())),
        }
    }

    fn instead_of(&self, wanted: &str) -> Fault {
        let found = match self {
            Self::Table(_) => "a table",
            Self::List(_) => "a list",
            Self::Scalar(kind, _) => kind.name(),
            Self::Variable(..) => "a single value",
        };
        Fault::new(format!("expected {wanted}, found {found}"))
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Fault> {
        // Every key of the settings asks for its own type; none takes a value of any type.
        Err(Fault::new("has no type"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text(Kind::Bool)? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(Fault::new("expected true or false")),
        }
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text(Kind::Number)?.parse() {
            Ok(number) => visitor.visit_i128(number),
            Err(_) => Err(Fault::new("expected a whole number")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text(Kind::Text)? {
            "" => Err(Fault::new("must not be empty")),
            text => visitor.visit_str(text),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    /// `''` means "not set".
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self {
            Node::Scalar(Kind::Text, text) | Node::Variable(text, _) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(StrDeserializer::new(self.text(Kind::Text)?))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if name == Decimal6::TOKEN {
            return visitor.visit_str(self.text(Kind::Number)?);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self {
            Node::List(items) | Node::Variable(_, items) => visitor.visit_seq(Items(items.iter().enumerate())),
            _ => Err(self.instead_of("a list")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self {
            Node::Table(entries) => visitor.visit_map(Entries { rest: entries.iter(), current: None }),
            _ => Err(self.instead_of("a table")),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'de>(std::iter::Enumerate<std::slice::Iter<'de, Node>>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.0.next().map(|(index, item)| seed.deserialize(item).map_err(|fault| fault.in_entry(index))).transpose()
    }
}

struct Entries<'de> {
    rest: btree_map::Iter<'de, String, Node>,
    current: Option<(&'de str, &'de Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.current = Some((key, value));
        seed.deserialize(StrDeserializer::new(key)).map(Some).map_err(|fault: Fault| fault.under(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (key, value) = self.current.take().ok_or_else(|| Fault::new("a value was asked for before its key"))?;
        seed.deserialize(value).map_err(|fault| fault.under(key))
    }
}
