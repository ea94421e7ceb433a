//! The shape of a column: a value, or lists, structs and maps of them, and at which levels of
//! definition and repetition each is there.
//!
//! # Source
//! Parquet's `LogicalTypes.md`, with its rules for lists as they were written before.

use std::fmt;

use parquet::{
    basic::{ConvertedType, LogicalType, Repetition},
    schema::types::Type,
};

use super::scalar::Scalar;

/// A column, or a part of one.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// From this level of definition on it is not null.
    pub(super) defined: i16,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// The column of values, by its place among all of the file.
    Leaf(usize, Scalar),
    Struct(Vec<(String, Shape)>),
    List(Box<Repeated>),
    Map(Box<Repeated>),
    /// What cannot be said, by the name of its type; it has that many columns from the first on.
    Foreign(String),
}

/// What is there several times.
#[derive(Debug, Clone)]
pub(super) struct Repeated {
    /// From this level of definition on there is at least one.
    pub(super) some: i16,
    /// A value at this level of repetition is one more.
    pub(super) level: i16,
    /// Of a map: the key.
    pub(super) item: Shape,
    /// Of a map: the value, where there is one.
    pub(super) value: Option<Shape>,
}

/// All columns of a file that have a name: those in structs are called `a.b`.
pub(super) fn columns(root: &Type) -> Vec<(String, Shape)> {
    fn name(prefix: &str, fields: Vec<(String, Shape)>, all: &mut Vec<(String, Shape)>) {
        for (field, shape) in fields {
            let path = format!("{prefix}{field}");
            if let Kind::Struct(inside) = &shape.kind {
                name(&format!("{path}."), inside.clone(), all);
            }
            all.push((path, shape));
        }
    }
    let mut leaves = 0;
    let fields = members(root, 0, 0, &mut leaves);
    let mut all = Vec::new();
    name("", fields, &mut all);
    all
}

fn members(group: &Type, defined: i16, level: i16, leaves: &mut usize) -> Vec<(String, Shape)> {
    (group.get_fields().iter())
        .map(|field| {
            (
                field.name().to_owned(),
                shape(field, defined, level, leaves),
            )
        })
        .collect()
}

/// The shape of a field inside of what is there from `defined` on.
fn shape(field: &Type, defined: i16, level: i16, leaves: &mut usize) -> Shape {
    match repetition(field) {
        Repetition::REQUIRED => present(field, defined, level, leaves),
        Repetition::OPTIONAL => present(field, defined + 1, level, leaves),
        // A list without a name of its own, as before there were lists.
        Repetition::REPEATED => Shape {
            defined,
            kind: Kind::List(Box::new(Repeated {
                some: defined + 1,
                level: level + 1,
                item: present(field, defined + 1, level + 1, leaves),
                value: None,
            })),
        },
    }
}

fn repetition(field: &Type) -> Repetition {
    let info = field.get_basic_info();
    if info.has_repetition() {
        info.repetition()
    } else {
        Repetition::REQUIRED
    }
}

/// The shape of a field that is there from `defined` on.
fn present(field: &Type, defined: i16, level: i16, leaves: &mut usize) -> Shape {
    let kind = if field.is_group() {
        group(field, defined, level, leaves)
    } else {
        let leaf = *leaves;
        *leaves += 1;
        match Scalar::of(field) {
            Ok(scalar) => Kind::Leaf(leaf, scalar),
            Err(name) => Kind::Foreign(name),
        }
    };
    Shape { defined, kind }
}

fn group(field: &Type, defined: i16, level: i16, leaves: &mut usize) -> Kind {
    let info = field.get_basic_info();
    let (is_list, is_map) = match info.logical_type_ref() {
        Some(LogicalType::List) => (true, false),
        Some(LogicalType::Map) => (false, true),
        None => (
            info.converted_type() == ConvertedType::LIST,
            matches!(
                info.converted_type(),
                ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE
            ),
        ),
        Some(other) => {
            let name = format!("{other:?}");
            let name = name.split('(').next().unwrap_or_default().to_owned();
            members(field, defined, level, leaves);
            return Kind::Foreign(name);
        }
    };
    let repeated = match field.get_fields() {
        [one] if repetition(one) == Repetition::REPEATED => Some(one),
        _ => None,
    };
    let (some, inner) = (defined + 1, level + 1);
    match repeated {
        Some(one) if is_list => {
            let item = match (one.is_group(), one.is_group().then(|| one.get_fields())) {
                (true, Some([element])) if is_element(field, one, element) => {
                    shape(element, some, inner, leaves)
                }
                _ => present(one, some, inner, leaves),
            };
            Kind::List(Box::new(Repeated {
                some,
                level: inner,
                item,
                value: None,
            }))
        }
        Some(entry) if is_map && entry.is_group() && matches!(entry.get_fields().len(), 1 | 2) => {
            let mut entry = members(entry, some, inner, leaves).into_iter();
            match entry.next() {
                Some((_, item)) => Kind::Map(Box::new(Repeated {
                    some,
                    level: inner,
                    item,
                    value: entry.next().map(|(_, value)| value),
                })),
                None => Kind::Foreign("an empty map".to_owned()),
            }
        }
        _ => Kind::Struct(members(field, defined, level, leaves)),
    }
}

/// Whether the only field of a list's repeated group is the element; else the group is.
fn is_element(list: &Type, repeated: &Type, element: &Type) -> bool {
    repetition(element) != Repetition::REPEATED
        && repeated.name() != "array"
        && repeated.name() != format!("{}_tuple", list.name())
}

impl Shape {
    /// Whatever makes it impossible to say it.
    pub(super) fn foreign(&self) -> Option<&str> {
        match &self.kind {
            Kind::Foreign(name) => Some(name),
            Kind::Leaf(..) => None,
            Kind::Struct(members) => members.iter().find_map(|(_, member)| member.foreign()),
            Kind::List(of) => of.item.foreign(),
            Kind::Map(of) => match (&of.item.kind, &of.value) {
                (Kind::Leaf(..), Some(value)) => value.foreign(),
                (Kind::Leaf(..), None) => None,
                _ => Some("map whose keys are no plain values"),
            },
        }
    }

    /// Its columns of values, by their places.
    pub(super) fn leaves(&self) -> Vec<usize> {
        match &self.kind {
            Kind::Foreign(_) => Vec::new(),
            Kind::Leaf(place, _) => vec![*place],
            Kind::Struct(members) => members
                .iter()
                .flat_map(|(_, member)| member.leaves())
                .collect(),
            Kind::List(of) | Kind::Map(of) => {
                let mut leaves = of.item.leaves();
                leaves.extend(of.value.iter().flat_map(Self::leaves));
                leaves
            }
        }
    }

    /// What it is where it is one value.
    pub(super) fn scalar(&self) -> Option<Scalar> {
        match self.kind {
            Kind::Leaf(_, scalar) => Some(scalar),
            _ => None,
        }
    }

    /// What it is a list of, where that is one value.
    pub(super) fn list_of(&self) -> Option<Scalar> {
        match &self.kind {
            Kind::List(of) => of.item.scalar(),
            _ => None,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Leaf(_, scalar) => scalar.fmt(f),
            Kind::Foreign(name) => f.write_str(name),
            Kind::Struct(members) => {
                let names: Vec<_> = members
                    .iter()
                    .map(|(name, _)| format!("`{name}`"))
                    .collect();
                write!(f, "struct of {}", names.join(", "))
            }
            Kind::List(of) => write!(f, "list of {}", of.item),
            Kind::Map(of) => match &of.value {
                Some(value) => write!(f, "map of {} to {value}", of.item),
                None => write!(f, "map of {}", of.item),
            },
        }
    }
}
