//! The outline of an ONNX file: what it takes and gives, which operators it has and where its weights
//! are. Only tags and names are read; weights are skipped, however many they are.
//!
//! # Source
//! `onnx.proto` of ONNX 1.19, and the wire format of protocol buffers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

/// Numbers of the fields that are followed.
mod field {
    pub const MODEL_IR_VERSION: u64 = 1;
    pub const MODEL_GRAPH: u64 = 7;
    pub const MODEL_FUNCTIONS: u64 = 25;
    pub const FUNCTION_NODE: u64 = 7;
    pub const GRAPH_NODE: u64 = 1;
    pub const GRAPH_INITIALIZER: u64 = 5;
    pub const GRAPH_INPUT: u64 = 11;
    pub const GRAPH_OUTPUT: u64 = 12;
    pub const VALUE_NAME: u64 = 1;
    pub const VALUE_TYPE: u64 = 2;
    pub const TYPE_TENSOR: u64 = 1;
    pub const TENSOR_TYPE_ELEMENT: u64 = 1;
    pub const TENSOR_TYPE_SHAPE: u64 = 2;
    pub const SHAPE_SIDE: u64 = 1;
    pub const SIDE_VALUE: u64 = 1;
    pub const SIDE_SYMBOL: u64 = 2;
    pub const NODE_OPERATOR: u64 = 4;
    pub const NODE_ATTRIBUTE: u64 = 5;
    pub const NODE_DOMAIN: u64 = 7;
    pub const ATTRIBUTE_TENSOR: u64 = 5;
    pub const ATTRIBUTE_GRAPH: u64 = 6;
    pub const ATTRIBUTE_TENSORS: u64 = 10;
    pub const ATTRIBUTE_GRAPHS: u64 = 11;
    pub const TENSOR_NAME: u64 = 8;
    pub const TENSOR_EXTERNAL_DATA: u64 = 13;
    pub const ENTRY_KEY: u64 = 1;
    pub const ENTRY_VALUE: u64 = 2;
}

/// The operator that keeps a cache of its own making and wants padding on the right.
const GROUP_QUERY_ATTENTION: &str = "GroupQueryAttention";

/// Operators that run graphs inside of graphs.
const NESTING: [&str; 3] = ["If", "Loop", "Scan"];

/// Element types by their numbers.
const ELEMENTS: [&str; 17] = [
    "?",
    "f32",
    "u8",
    "i8",
    "u16",
    "i16",
    "i32",
    "i64",
    "str",
    "bool",
    "f16",
    "f64",
    "u32",
    "u64",
    "complex64",
    "complex128",
    "bf16",
];

/// Longest name that is read, bytes.
const LONGEST_NAME: u64 = 4_096;

/// Graphs inside of graphs.
const DEEPEST: u32 = 32;

/// What is known of an ONNX file without its weights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::models) struct Outline {
    /// Whether it holds GroupQueryAttention operators.
    pub group_query_attention: bool,
    /// Files with weights, relative to the folder of the graph, and the bytes each must have at
    /// least.
    pub external: BTreeMap<String, u64>,
}

/// What a graph takes and gives, and which of its operators not every runtime has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::models) struct Surface {
    /// What it takes, weights excepted.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
    /// Operators of other domains than ONNX's own, and those with graphs inside, with their number.
    pub operators: BTreeMap<String, u64>,
}

/// An input or output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::models) struct Port {
    /// Its name.
    pub name: String,
    /// Its element type, for example `f32`; `?` where it is no tensor.
    pub element: String,
    /// Its sides: a number, the name of a side that varies, or `?`.
    pub shape: Vec<String>,
}

/// Why a file has no outline.
#[derive(Debug)]
pub(in crate::models) enum Unreadable {
    /// It cannot be read.
    Io(io::Error),
    /// It ends too early; the size it must have at least.
    Cut { found: u64, wanted: u64 },
    /// It is something else.
    NoGraph,
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads the outline of a file.
///
/// # Errors
/// [`Unreadable`].
pub(in crate::models) fn outline(path: &Path) -> Result<Outline, Unreadable> {
    read(path).map(|reader| reader.outline)
}

/// Reads what a graph takes and gives.
///
/// # Errors
/// [`Unreadable`].
pub(in crate::models) fn surface(path: &Path) -> Result<Surface, Unreadable> {
    let Reader {
        mut surface,
        weights,
        ..
    } = read(path)?;
    surface.inputs.retain(|port| !weights.contains(&port.name));
    Ok(surface)
}

fn read(path: &Path) -> Result<Reader, Unreadable> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut reader = Reader {
        file: BufReader::new(file),
        at: 0,
        size,
        outline: Outline::default(),
        surface: Surface::default(),
        weights: BTreeSet::new(),
        value: 0,
    };
    reader.model()?;
    Ok(reader)
}

struct Reader {
    file: BufReader<File>,
    at: u64,
    size: u64,
    outline: Outline,
    surface: Surface,
    /// Names of tensors that lie in the graph.
    weights: BTreeSet<String>,
    /// The last number that was read.
    value: u64,
}

/// A field: its number, and the end of its content where it has a length.
struct Field {
    number: u64,
    end: Option<u64>,
}

impl Reader {
    fn model(&mut self) -> Result<(), Unreadable> {
        let (mut version, mut graph) = (false, false);
        loop {
            let (number, end) = match self.next(self.size) {
                Ok(Some(Field { number, end })) => (number, end),
                Ok(None) => break,
                // Lengths mean something only in an ONNX file, which has its version in front.
                Err(Unreadable::Cut { .. }) if !version => return Err(Unreadable::NoGraph),
                Err(error) => return Err(error),
            };
            version |= number == field::MODEL_IR_VERSION && end.is_none();
            let Some(end) = end else { continue };
            match number {
                field::MODEL_GRAPH => {
                    graph = true;
                    self.graph(end, 0)?;
                }
                field::MODEL_FUNCTIONS => self.function(end)?,
                _ => self.skip_to(end)?,
            }
        }
        if graph {
            Ok(())
        } else {
            Err(Unreadable::NoGraph)
        }
    }

    fn function(&mut self, end: u64) -> Result<(), Unreadable> {
        self.each(end, |reader, number, end| match number {
            field::FUNCTION_NODE => reader.node(end, 0),
            _ => reader.skip_to(end),
        })
    }

    fn graph(&mut self, end: u64, depth: u32) -> Result<(), Unreadable> {
        if depth > DEEPEST {
            return Err(Unreadable::NoGraph);
        }
        self.each(end, |reader, number, end| match number {
            field::GRAPH_NODE => reader.node(end, depth),
            field::GRAPH_INITIALIZER => reader.tensor(end),
            field::GRAPH_INPUT if depth == 0 => {
                let port = reader.port(end)?;
                reader.surface.inputs.push(port);
                Ok(())
            }
            field::GRAPH_OUTPUT if depth == 0 => {
                let port = reader.port(end)?;
                reader.surface.outputs.push(port);
                Ok(())
            }
            _ => reader.skip_to(end),
        })
    }

    fn node(&mut self, end: u64, depth: u32) -> Result<(), Unreadable> {
        let (mut operator, mut domain) = (String::new(), String::new());
        self.each(end, |reader, number, end| {
            match number {
                field::NODE_OPERATOR => operator = reader.text(end)?,
                field::NODE_DOMAIN => domain = reader.text(end)?,
                field::NODE_ATTRIBUTE => reader.attribute(end, depth)?,
                _ => reader.skip_to(end)?,
            }
            Ok(())
        })?;
        self.outline.group_query_attention |= operator == GROUP_QUERY_ATTENTION;
        let own = matches!(domain.as_str(), "" | "ai.onnx");
        if !own || NESTING.contains(&operator.as_str()) {
            let known = self.surface.operators.entry(operator).or_default();
            *known += 1;
        }
        Ok(())
    }

    fn attribute(&mut self, end: u64, depth: u32) -> Result<(), Unreadable> {
        self.each(end, |reader, number, end| match number {
            field::ATTRIBUTE_TENSOR | field::ATTRIBUTE_TENSORS => reader.tensor(end),
            field::ATTRIBUTE_GRAPH | field::ATTRIBUTE_GRAPHS => reader.graph(end, depth + 1),
            _ => reader.skip_to(end),
        })
    }

    fn tensor(&mut self, end: u64) -> Result<(), Unreadable> {
        let mut entries = BTreeMap::new();
        self.each(end, |reader, number, end| match number {
            field::TENSOR_NAME => {
                let name = reader.text(end)?;
                reader.weights.insert(name);
                Ok(())
            }
            field::TENSOR_EXTERNAL_DATA => {
                let (mut key, mut value) = (String::new(), String::new());
                reader.each(end, |reader, number, end| {
                    match number {
                        field::ENTRY_KEY => key = reader.text(end)?,
                        field::ENTRY_VALUE => value = reader.text(end)?,
                        _ => reader.skip_to(end)?,
                    }
                    Ok(())
                })?;
                entries.insert(key, value);
                Ok(())
            }
            _ => reader.skip_to(end),
        })?;
        if let Some(location) = entries.remove("location") {
            let number = |key: &str| entries.get(key).and_then(|text| text.parse::<u64>().ok());
            let bytes = number("length").unwrap_or(0);
            let wanted = number("offset").unwrap_or(0).saturating_add(bytes);
            let known = self.outline.external.entry(location).or_default();
            *known = wanted.max(*known);
        }
        Ok(())
    }

    fn port(&mut self, end: u64) -> Result<Port, Unreadable> {
        let mut port = Port {
            element: ELEMENTS[0].to_owned(),
            ..Port::default()
        };
        self.each(end, |reader, number, end| {
            match number {
                field::VALUE_NAME => port.name = reader.text(end)?,
                field::VALUE_TYPE => reader.each(end, |reader, number, end| match number {
                    field::TYPE_TENSOR => reader.tensor_type(end, &mut port),
                    _ => reader.skip_to(end),
                })?,
                _ => reader.skip_to(end)?,
            }
            Ok(())
        })?;
        Ok(port)
    }

    fn tensor_type(&mut self, end: u64, port: &mut Port) -> Result<(), Unreadable> {
        while let Some(Field { number, end }) = self.next(end)? {
            match (number, end) {
                (field::TENSOR_TYPE_ELEMENT, None) => {
                    let number = usize::try_from(self.value).unwrap_or(usize::MAX);
                    let known = ELEMENTS.get(number).map(|name| (*name).to_owned());
                    port.element = known.unwrap_or_else(|| format!("type {number}"));
                }
                (field::TENSOR_TYPE_SHAPE, Some(end)) => {
                    self.each(end, |reader, number, end| match number {
                        field::SHAPE_SIDE => {
                            let side = reader.side(end)?;
                            port.shape.push(side);
                            Ok(())
                        }
                        _ => reader.skip_to(end),
                    })?;
                }
                (_, Some(end)) => self.skip_to(end)?,
                (_, None) => {}
            }
        }
        Ok(())
    }

    fn side(&mut self, end: u64) -> Result<String, Unreadable> {
        let mut side = "?".to_owned();
        while let Some(Field { number, end }) = self.next(end)? {
            match (number, end) {
                (field::SIDE_VALUE, None) => side = self.value.to_string(),
                (field::SIDE_SYMBOL, Some(end)) => side = self.text(end)?,
                (_, Some(end)) => self.skip_to(end)?,
                (_, None) => {}
            }
        }
        Ok(side)
    }

    /// Gives every field with a length, up to `end`, to `visit`, which reads or skips all of it.
    fn each(
        &mut self,
        end: u64,
        mut visit: impl FnMut(&mut Self, u64, u64) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        while let Some(Field { number, end }) = self.next(end)? {
            if let Some(end) = end {
                visit(self, number, end)?;
            }
        }
        Ok(())
    }

    /// The next field before `end`; what stands in one without a length is in `value`.
    fn next(&mut self, end: u64) -> Result<Option<Field>, Unreadable> {
        if self.at == end {
            return Ok(None);
        }
        let tag = self.varint(end)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Unreadable::NoGraph);
        }
        let content = match tag & 7 {
            0 => {
                self.value = self.varint(end)?;
                None
            }
            1 => self
                .within(8, end)
                .and_then(|to| self.skip_to(to))
                .map(|()| None)?,
            2 => {
                let length = self.varint(end)?;
                Some(self.within(length, end)?)
            }
            5 => self
                .within(4, end)
                .and_then(|to| self.skip_to(to))
                .map(|()| None)?,
            _ => return Err(Unreadable::NoGraph),
        };
        Ok(Some(Field {
            number,
            end: content,
        }))
    }

    /// Where the next `length` bytes end. Beyond the end of the file it is cut; beyond that of an
    /// inner part it is no ONNX file.
    fn within(&self, length: u64, end: u64) -> Result<u64, Unreadable> {
        let wanted = self.at.saturating_add(length);
        if wanted <= end {
            Ok(wanted)
        } else if end == self.size {
            Err(Unreadable::Cut {
                found: self.size,
                wanted,
            })
        } else {
            Err(Unreadable::NoGraph)
        }
    }

    fn varint(&mut self, end: u64) -> Result<u64, Unreadable> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            self.within(1, end)?;
            let mut byte = [0];
            self.file.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(Unreadable::NoGraph)
    }

    fn text(&mut self, end: u64) -> Result<String, Unreadable> {
        let length = end - self.at;
        if length > LONGEST_NAME {
            return Err(Unreadable::NoGraph);
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes)?;
        self.at = end;
        String::from_utf8(bytes).map_err(|_| Unreadable::NoGraph)
    }

    fn skip_to(&mut self, end: u64) -> Result<(), Unreadable> {
        let by = i64::try_from(end - self.at).map_err(|_| Unreadable::NoGraph)?;
        self.file.seek_relative(by)?;
        self.at = end;
        Ok(())
    }
}

#[cfg(test)]
pub(in crate::models) mod tests;
