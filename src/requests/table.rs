//! Tables of text, CSV and TSV: rows by the columns that make a request.

use std::{io, path::Path};

use super::{
    Columns, Fault, Item, Position,
    columns::find,
    compose::{Parts, quoted},
    text::Text,
};
use comma::Commas;
use tab::Tabs;

mod comma;
mod tab;

/// How columns are set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separator {
    /// As RFC 4180 has it.
    Comma,
    /// A record a line; quotes where a field begins and ends with them.
    Tab,
}

impl Separator {
    fn name(self) -> &'static str {
        match self {
            Self::Comma => "comma",
            Self::Tab => "tab",
        }
    }
}

/// The fields of one record.
struct Record {
    fields: Vec<Vec<u8>>,
    after: Position,
}

/// The records of a table, without empty lines.
trait Records {
    fn next_record(&mut self) -> io::Result<Option<Record>>;
}

/// The columns of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    separator: Separator,
    /// What stands between the fields.
    delimiter: u8,
    has_header: bool,
    /// Fields of the first record.
    fields: usize,
    url: usize,
    id: Option<usize>,
    caption: Option<usize>,
    meta: Vec<(String, usize)>,
}

impl Table {
    /// Finds the columns by the first record.
    ///
    /// # Errors
    /// In words: a column is not there, or cannot be known.
    fn find(
        separator: Separator,
        delimiter: u8,
        first: &[Vec<u8>],
        columns: &Columns,
    ) -> Result<Self, String> {
        let first: Vec<_> = (first.iter().map(|field| String::from_utf8_lossy(field)))
            .map(|field| field.trim().to_owned())
            .collect();
        let mut table = Self {
            separator,
            delimiter,
            has_header: !first.iter().any(|field| is_url(field)),
            fields: first.len(),
            url: 0,
            id: None,
            caption: None,
            meta: Vec::new(),
        };
        if table.has_header {
            table.by_header(&first, columns)?;
        } else {
            table.by_number(&first, columns)?;
        }
        Ok(table)
    }

    fn by_header(&mut self, header: &[String], columns: &Columns) -> Result<(), String> {
        let mut problems = Vec::new();
        let mut place = |wanted: &str, any_case, what: &str| {
            let names = header.iter().map(String::as_str);
            (find(names, wanted, any_case, what).map_err(|problem| problems.push(problem))).ok()
        };
        let url = columns.url.as_deref().unwrap_or("url");
        let url = place(url, columns.url.is_none(), "URL (--url-column)");
        self.id = (columns.id.as_deref()).and_then(|name| place(name, false, "id (--id-column)"));
        // As in JSON: what is called `caption` is the caption.
        let is_there = header
            .iter()
            .any(|name| name.eq_ignore_ascii_case("caption"));
        self.caption = match columns.caption.as_deref() {
            None if !is_there => None,
            None => place("caption", true, "caption (--caption-column)"),
            Some(name) => place(name, false, "caption (--caption-column)"),
        };
        for name in &columns.meta {
            let at = place(name, false, "meta (--meta-column)");
            self.meta.extend(at.map(|at| (name.clone(), at)));
        }
        match url {
            Some(url) if problems.is_empty() => {
                self.url = url;
                Ok(())
            }
            _ => {
                let names: Vec<_> = header.iter().map(|name| format!("`{name}`")).collect();
                Err(format!(
                    "{}; the columns of its header are {}",
                    problems.join("; "),
                    names.join(", ")
                ))
            }
        }
    }

    /// Without a header, columns are numbers; of two, set apart by a tab, one is the URL and the
    /// other its caption.
    fn by_number(&mut self, first: &[String], columns: &Columns) -> Result<(), String> {
        let mut problems = Vec::new();
        let mut place = |wanted: &str, what: &str| {
            let number = wanted.parse::<usize>().ok();
            let at = number.filter(|number| (1..=first.len()).contains(number));
            if at.is_none() {
                problems.push(format!("no column `{wanted}` for the {what}"));
            }
            at.map(|number| number - 1)
        };
        let url = (columns.url.as_deref()).and_then(|name| place(name, "URL (--url-column)"));
        self.id = (columns.id.as_deref()).and_then(|name| place(name, "id (--id-column)"));
        self.caption =
            (columns.caption.as_deref()).and_then(|name| place(name, "caption (--caption-column)"));
        for name in &columns.meta {
            let at = place(name, "meta (--meta-column)");
            self.meta.extend(at.map(|at| (name.clone(), at)));
        }
        let urls: Vec<_> = (first.iter().enumerate())
            .filter(|(_, field)| is_url(field))
            .map(|(at, _)| at)
            .collect();
        let is_pair = self.separator == Separator::Tab && first.len() == 2 && urls.len() == 1;
        let numbers = "there is no header line, so columns are numbers: for example \
                       --url-column 1 --caption-column 2";
        if !problems.is_empty() {
            let there = first.len();
            return Err(format!(
                "{}; it has {there}, and {numbers}",
                problems.join("; ")
            ));
        }
        match (url, urls.as_slice()) {
            (Some(url), _) => self.url = url,
            (None, [url]) if columns.is_named() || first.len() == 1 || is_pair => self.url = *url,
            _ => {
                let what = self.separator.name();
                let hint = if what == "comma" && first.len() > 1 {
                    "; a URL that holds commas needs quotes, or a list that ends in .txt"
                } else {
                    ""
                };
                return Err(format!("{} columns, and {numbers}{hint}", first.len()));
            }
        }
        if is_pair && !columns.is_named() {
            self.caption = Some(1 - self.url);
        }
        Ok(())
    }

    /// The request of a record.
    fn request(&self, fields: &[Vec<u8>]) -> Result<Vec<u8>, String> {
        if fields.len() > self.fields {
            return Err(format!(
                "has {} fields, the first line {}: a field that holds a {} needs quotes",
                fields.len(),
                self.fields,
                self.separator.name()
            ));
        }
        let text = |at: usize, what: &str| -> Result<Option<String>, String> {
            let Some(field) = fields.get(at) else {
                return Ok(None);
            };
            match std::str::from_utf8(field) {
                Ok(text) => Ok((!text.is_empty()).then(|| text.to_owned())),
                Err(error) => Err(format!("{what}: no UTF-8 ({error})")),
            }
        };
        let url = text(self.url, "URL")?;
        let url = url.as_deref().map(str::trim).filter(|url| !url.is_empty());
        let mut parts = Parts {
            url: url.ok_or("no URL")?.to_owned(),
            ..Parts::default()
        };
        if let Some(id) = self.id {
            parts.id = text(id, "id")?;
        }
        if let Some(caption) = self.caption {
            parts.caption = text(caption, "caption")?;
        }
        for (name, at) in &self.meta {
            let value = text(*at, name)?.map_or_else(|| "null".to_owned(), |text| quoted(&text));
            parts.meta.push((name, value));
        }
        Ok(parts.request())
    }

    fn records(&self, text: Text, number: u64) -> Box<dyn Records> {
        match self.separator {
            Separator::Comma => Box::new(Commas::new(text, number, self.delimiter)),
            Separator::Tab => Box::new(Tabs::new(text, number, Some(self.fields))),
        }
    }
}

/// Looks at a table in a file; `None`: it is empty. Returns the number of its rows, too.
///
/// # Errors
/// It cannot be read; its columns are not those that are wanted.
pub(super) fn look(
    name: &str,
    path: &Path,
    separator: Separator,
    columns: &Columns,
) -> Result<(Option<Table>, u64), Fault> {
    let fault = |error: io::Error| Fault::new(name, error);
    let text = Text::open(path, 0).map_err(fault)?;
    let Some((table, _, mut records)) = begin(name, text, separator, columns)? else {
        return Ok((None, 0));
    };
    let mut rows = u64::from(!table.has_header);
    while records.next_record().map_err(fault)?.is_some() {
        rows += 1;
    }
    Ok((Some(table), rows))
}

/// A table, its first record, and those after it.
type Begun = (Table, Record, Box<dyn Records>);

/// Reads the first record.
fn begin(
    name: &str,
    mut text: Text,
    separator: Separator,
    columns: &Columns,
) -> Result<Option<Begun>, Fault> {
    let fault = |error: io::Error| Fault::new(name, error);
    let delimiter = match separator {
        Separator::Tab => b'\t',
        Separator::Comma => comma::delimiter(text.fill().map_err(fault)?),
    };
    let mut records: Box<dyn Records> = match separator {
        Separator::Comma => Box::new(Commas::new(text, 0, delimiter)),
        Separator::Tab => Box::new(Tabs::new(text, 0, None)),
    };
    let Some(first) = records.next_record().map_err(fault)? else {
        return Ok(None);
    };
    let table = Table::find(separator, delimiter, &first.fields, columns)
        .map_err(|problem| Fault::new(name, problem))?;
    Ok(Some((table, first, records)))
}

/// The rows of a table.
pub(super) struct Rows {
    name: String,
    table: Table,
    records: Box<dyn Records>,
    /// The first record, where it is no header.
    first: Option<Record>,
}

impl Rows {
    /// Rows of a file that was looked at.
    pub(super) fn open(name: &str, path: &Path, table: &Table, from: Position) -> io::Result<Self> {
        let mut records = table.records(Text::open(path, from.at)?, from.number);
        if from.at == 0 && table.has_header {
            records.next_record()?;
        }
        Ok(Self {
            name: name.to_owned(),
            table: table.clone(),
            records,
            first: None,
        })
    }

    /// Rows of what is read once; `None`: it is empty.
    pub(super) fn of(
        name: &str,
        text: Text,
        separator: Separator,
        columns: &Columns,
    ) -> Result<Option<Self>, Fault> {
        let begun = begin(name, text, separator, columns)?;
        Ok(begun.map(|(table, first, records)| Self {
            name: name.to_owned(),
            first: (!table.has_header).then_some(first),
            table,
            records,
        }))
    }
}

impl Iterator for Rows {
    type Item = Result<Item, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match self.first.take() {
            Some(first) => first,
            None => match self.records.next_record() {
                Ok(record) => record?,
                Err(error) => return Some(Err(Fault::new(&self.name, error))),
            },
        };
        Some(Ok(Item {
            first: record.after.number,
            after: record.after,
            content: self.table.request(&record.fields),
        }))
    }
}

fn is_url(field: &str) -> bool {
    let scheme = field.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && (scheme.chars()).all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}
