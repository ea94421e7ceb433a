//! The outline of an ONNX file: which operators it has and where its weights are. Only tags and
//! names are read; weights are skipped, however many they are.
//!
//! # Source
//! `onnx.proto` of ONNX 1.19, and the wire format of protocol buffers.

use std::{
    collections::BTreeMap,
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
    pub const NODE_OPERATOR: u64 = 4;
    pub const NODE_ATTRIBUTE: u64 = 5;
    pub const ATTRIBUTE_TENSOR: u64 = 5;
    pub const ATTRIBUTE_GRAPH: u64 = 6;
    pub const ATTRIBUTE_TENSORS: u64 = 10;
    pub const ATTRIBUTE_GRAPHS: u64 = 11;
    pub const TENSOR_EXTERNAL_DATA: u64 = 13;
    pub const ENTRY_KEY: u64 = 1;
    pub const ENTRY_VALUE: u64 = 2;
}

/// The operator that keeps a cache of its own making and wants padding on the right.
const GROUP_QUERY_ATTENTION: &str = "GroupQueryAttention";

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
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut reader = Reader {
        file: BufReader::new(file),
        at: 0,
        size,
        outline: Outline::default(),
    };
    reader.model()?;
    Ok(reader.outline)
}

struct Reader {
    file: BufReader<File>,
    at: u64,
    size: u64,
    outline: Outline,
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
            _ => reader.skip_to(end),
        })
    }

    fn node(&mut self, end: u64, depth: u32) -> Result<(), Unreadable> {
        self.each(end, |reader, number, end| match number {
            field::NODE_OPERATOR => {
                let operator = reader.text(end)?;
                reader.outline.group_query_attention |= operator == GROUP_QUERY_ATTENTION;
                Ok(())
            }
            field::NODE_ATTRIBUTE => reader.attribute(end, depth),
            _ => reader.skip_to(end),
        })
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

    /// The next field before `end`; numbers are skipped.
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
                self.varint(end)?;
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
pub(in crate::models) mod tests {
    use super::*;

    /// A field with a length.
    pub(in crate::models) fn part(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(content);
        bytes
    }

    /// An ONNX file with one operator, and one tensor that lies in `weights` (file, offset,
    /// length).
    pub(in crate::models) fn file(operator: &str, weights: Option<(&str, u64, u64)>) -> Vec<u8> {
        let mut graph = part(1, &part(4, operator.as_bytes()));
        if let Some((location, offset, length)) = weights {
            let entry = |key: &str, value: &str| {
                let both = [part(1, key.as_bytes()), part(2, value.as_bytes())].concat();
                part(13, &both)
            };
            let tensor = [
                entry("location", location),
                entry("offset", &offset.to_string()),
                entry("length", &length.to_string()),
                vec![14 << 3, 1],
            ];
            graph.extend(part(5, &tensor.concat()));
        }
        [vec![8, 10], part(7, &graph)].concat()
    }

    fn outline_of(bytes: &[u8]) -> Result<Outline, Unreadable> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.onnx");
        std::fs::write(&path, bytes).expect("a file");
        outline(&path)
    }

    #[test]
    fn operators_and_places_of_weights_are_found() {
        let found = outline_of(&file("GroupQueryAttention", Some(("x.onnx_data", 64, 100))));
        let found = found.expect("a graph");
        assert!(found.group_query_attention);
        let expected = BTreeMap::from([("x.onnx_data".to_owned(), 164)]);
        assert_eq!(found.external, expected);
        let plain = outline_of(&file("MatMul", None)).expect("a graph");
        assert_eq!(plain, Outline::default());
    }

    #[test]
    fn an_operator_inside_a_branch_is_found() {
        let branch = part(1, &part(4, b"GroupQueryAttention"));
        let attribute = part(5, &part(6, &branch));
        let graph = part(1, &[part(4, b"If"), attribute].concat());
        let found = outline_of(&[vec![8, 10], part(7, &graph)].concat()).expect("a graph");
        assert!(found.group_query_attention);
    }

    #[test]
    fn a_cut_file_tells_the_size_it_should_have() {
        let whole = file("MatMul", Some(("w", 0, 300)));
        for length in 4..whole.len() {
            match outline_of(&whole[..length]) {
                Err(Unreadable::Cut { found, wanted }) => {
                    assert_eq!((found, wanted), (length as u64, whole.len() as u64));
                }
                other => panic!("{length} bytes: {other:?}"),
            }
        }
    }

    #[test]
    fn other_files_are_no_graphs() {
        for bytes in [
            &b"no graph"[..],
            b"{}",
            b"",
            &[0; 100],
            &[8, 10],
            b"\x89PNG\r\n",
        ] {
            let found = outline_of(bytes);
            assert!(
                matches!(found, Err(Unreadable::NoGraph)),
                "{bytes:?}: {found:?}"
            );
        }
    }

    #[test]
    fn the_shipped_graphs_are_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for file in [
            "models/scenes/onnx/decoder_model_merged.onnx",
            "target/runtime/rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        ] {
            let found = outline(&root.join(file)).expect("a graph");
            assert_eq!(found, Outline::default(), "{file}");
        }
    }
}
