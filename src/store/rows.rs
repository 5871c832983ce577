//! Rows on their way into a table. One text has all of them, one after the other, and a list says where each begins. A row
//! begins with what takes as many characters in each row; where that is long, two numbers there say where it stands and how
//! many bytes it has. So SQL finds each value by its place, and parses nothing.

use std::borrow::Cow;
use std::fmt::Write;
use std::slice::Iter;

use super::{Param, json};

/// Characters of a place or a length in the text, which a parameter's 2 MB bound.
const PLACE: usize = 8;
/// What follows a value that has fewer characters than there is room for; as long as the longest.
const BLANK: &str = "                                                                ";
/// Stands for a number that is NULL.
const NONE: i64 = -1;

/// What a column has.
#[derive(Clone, Copy)]
pub enum Sort {
    /// A whole number of so many characters at most.
    Number(usize),
    /// One that is not negative, or NULL; of two characters at least.
    MaybeNumber(usize),
    /// Bytes, as so many digits of hex, or NULL.
    Bytes(usize),
    /// As many bytes as it has, as hex; NULL when there are none.
    LongBytes,
    /// A text.
    Text,
    /// A text; NULL when it is empty.
    MaybeText,
}

impl Sort {
    /// Characters at the beginning of a row.
    const fn width(self) -> usize {
        match self {
            Self::Number(width) | Self::MaybeNumber(width) | Self::Bytes(width) => width,
            Self::LongBytes | Self::Text | Self::MaybeText => 2 * PLACE,
        }
    }

    /// The value of a row that begins at `s.value` of the text ?2, where it stands `at` characters after that.
    fn sql(self, at: usize) -> String {
        let part = |from: &str, bytes: &str| format!("substr(CAST(?2 AS BLOB), {from}, {bytes})");
        let here = |at: usize, bytes: usize| part(&format!("s.value + {at}"), &bytes.to_string());
        let number = |at, width| format!("CAST({} AS INTEGER)", here(at, width));
        let long = || part(&number(at, PLACE), &number(at + PLACE, PLACE));
        match self {
            Self::Number(width) => number(at, width),
            Self::MaybeNumber(width) => format!("nullif({}, {NONE})", number(at, width)),
            // What is blank is no hex, and so NULL.
            Self::Bytes(digits) => format!("unhex({})", here(at, digits)),
            Self::LongBytes => format!("unhex(nullif({}, x''))", long()),
            Self::Text => format!("CAST({} AS TEXT)", long()),
            Self::MaybeText => format!("CAST(nullif({}, x'') AS TEXT)", long()),
        }
    }
}

/// The columns of a table, in order.
pub type Columns = &'static [(&'static str, Sort)];

/// Selects the columns of the rows in the text ?2 that begin where the list ?1 says.
pub fn select(columns: Columns) -> String {
    let mut at = 0;
    let value = |(_, sort): &(&str, Sort)| {
        let sql = sort.sql(at);
        at += sort.width();
        sql
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    format!("SELECT {} FROM json_each(?1) AS s", values.join(", "))
}

/// The names of columns.
pub fn names(columns: Columns) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Rows that are being written down.
pub struct Rows {
    columns: Columns,
    text: String,
    starts: Vec<usize>,
}

impl Rows {
    /// No rows yet.
    pub fn new(columns: Columns) -> Self {
        Self { columns, text: String::new(), starts: Vec::new() }
    }

    /// Begins a row: its columns follow in order, and then its [end](Row::end).
    pub fn row(&mut self) -> Row<'_> {
        self.starts.push(self.text.len() + 1);
        Row { columns: self.columns.iter(), text: &mut self.text, long: Vec::new() }
    }

    /// Bytes of the text.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The parameters ?1 and ?2.
    pub fn params(self) -> Vec<Param> {
        vec![json(&self.starts), Param::Text(self.text.into())]
    }
}

/// A row that is being written down.
pub struct Row<'a> {
    /// Those to come.
    columns: Iter<'static, (&'static str, Sort)>,
    text: &'a mut String,
    /// Where the places of long values stand, and the values.
    long: Vec<(usize, Cow<'a, str>)>,
}

impl<'a> Row<'a> {
    /// A [`Sort::Number`].
    pub fn number(&mut self, number: i64) -> &mut Self {
        let (width, start) = (self.width(), self.text.len());
        // Writing to a string does not fail.
        let _ = write!(self.text, "{number}");
        self.fill(width, self.text.len() - start)
    }

    /// The same of one that is not negative; it is cut at what SQL has.
    pub fn natural(&mut self, number: u64) -> &mut Self {
        self.number(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// A [`Sort::MaybeNumber`].
    pub fn maybe(&mut self, number: Option<u64>) -> &mut Self {
        match number {
            Some(number) => self.natural(number),
            None => self.number(NONE),
        }
    }

    /// [`Sort::Bytes`], as hex; nothing is NULL.
    pub fn bytes(&mut self, hex: &str) -> &mut Self {
        let width = self.width();
        self.text.push_str(hex);
        self.fill(width, hex.len())
    }

    /// A [`Sort::LongBytes`], [`Sort::Text`] or [`Sort::MaybeText`].
    pub fn long(&mut self, text: impl Into<Cow<'a, str>>) -> &mut Self {
        self.long.push((self.text.len(), text.into()));
        let width = self.width();
        self.fill(width, 0)
    }

    /// Characters of the next column.
    fn width(&mut self) -> usize {
        self.columns.next().map_or(0, |(_, sort)| sort.width())
    }

    /// Blanks after a value of some bytes, up to the width of its column.
    fn fill(&mut self, width: usize, bytes: usize) -> &mut Self {
        self.text.push_str(BLANK.get(..width.saturating_sub(bytes)).unwrap_or_default());
        self
    }

    /// All columns were given.
    pub fn end(&mut self) {
        for (place, text) in std::mem::take(&mut self.long) {
            let numbers = format!("{:<PLACE$}{:<PLACE$}", self.text.len() + 1, text.len());
            self.text.replace_range(place..place + 2 * PLACE, &numbers);
            self.text.push_str(&text);
        }
    }
}
