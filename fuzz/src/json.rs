//! JSON, RFC 8259, to a tree in which nothing is lost: members in their order, duplicates too, and
//! numbers as they are written; and back, with something in it changed.

use std::fmt;

use crate::random::Random;

#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Why there is no tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not JSON.
    Wrong,
    /// What parsers make of it differs, and may: a lone surrogate, a number out of range, nesting
    /// deeper than a target needs.
    Unsure,
}

const MAX_DEPTH: usize = 100;

/// The one value that `bytes` hold.
pub fn read(bytes: &[u8]) -> Result<Json, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Wrong)?;
    let mut reader = Reader {
        rest: text,
        depth: 0,
    };
    let value = reader.value()?;
    reader.space();
    match reader.rest {
        "" => Ok(value),
        _ => Err(Fault::Wrong),
    }
}

impl Json {
    /// The members of an object.
    pub fn members(&self) -> Option<&[(String, Json)]> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    /// All values of that name in an object.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Json> {
        let members = self.members().unwrap_or_default().iter();
        members.filter(move |(n, _)| n == name).map(|(_, v)| v)
    }

    /// The only value of that name in an object.
    pub fn only(&self, name: &str) -> Option<&Json> {
        let mut all = self.all(name);
        let first = all.next()?;
        all.next().is_none().then_some(first)
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Json::Number(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// A number without sign, fraction and exponent that fits 64 bits.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Json::Number(digits) if !digits.starts_with('+') => digits.parse().ok(),
            _ => None,
        }
    }

    /// The strings of an array of nothing else.
    pub fn as_strings(&self) -> Option<Vec<&str>> {
        match self {
            Json::Array(elements) => elements.iter().map(Json::as_str).collect(),
            _ => None,
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, text: &str) -> Result<(), Fault> {
        self.eat(text).then_some(()).ok_or(Fault::Wrong)
    }

    fn value(&mut self) -> Result<Json, Fault> {
        self.space();
        match self.rest.bytes().next().ok_or(Fault::Wrong)? {
            b'n' => self.expect("null").map(|()| Json::Null),
            b't' => self.expect("true").map(|()| Json::Bool(true)),
            b'f' => self.expect("false").map(|()| Json::Bool(false)),
            b'"' => self.string().map(Json::String),
            b'[' => self.deeper(Reader::array),
            b'{' => self.deeper(Reader::object),
            _ => self.number(),
        }
    }

    fn deeper(&mut self, read: fn(&mut Self) -> Result<Json, Fault>) -> Result<Json, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::Unsure);
        }
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn array(&mut self) -> Result<Json, Fault> {
        self.expect("[")?;
        let mut elements = Vec::new();
        self.space();
        if self.eat("]") {
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value()?);
            self.space();
            if self.eat("]") {
                return Ok(Json::Array(elements));
            }
            self.expect(",")?;
        }
    }

    fn object(&mut self) -> Result<Json, Fault> {
        self.expect("{")?;
        let mut members = Vec::new();
        self.space();
        if self.eat("}") {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.expect(":")?;
            members.push((name, self.value()?));
            self.space();
            if self.eat("}") {
                return Ok(Json::Object(members));
            }
            self.expect(",")?;
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.expect("\"")?;
        let mut text = String::new();
        loop {
            let c = self.rest.chars().next().ok_or(Fault::Wrong)?;
            self.rest = &self.rest[c.len_utf8()..];
            match c {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                '\0'..='\x1f' => return Err(Fault::Wrong),
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        const SHORT: [(&str, char); 8] = [
            ("\"", '"'),
            ("\\", '\\'),
            ("/", '/'),
            ("b", '\x08'),
            ("f", '\x0c'),
            ("n", '\n'),
            ("r", '\r'),
            ("t", '\t'),
        ];
        for (letter, meant) in SHORT {
            if self.eat(letter) {
                return Ok(meant);
            }
        }
        self.expect("u")?;
        let first = self.four_digits()?;
        if let Some(c) = char::from_u32(first) {
            return Ok(c);
        }
        if first >= 0xdc00 || !self.eat("\\u") {
            return Err(Fault::Unsure);
        }
        let second = self.four_digits()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(Fault::Unsure);
        }
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(Fault::Wrong)
    }

    fn four_digits(&mut self) -> Result<u32, Fault> {
        let digits = self.rest.get(..4).ok_or(Fault::Wrong)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Fault::Wrong);
        }
        self.rest = &self.rest[4..];
        u32::from_str_radix(digits, 16).map_err(|_| Fault::Wrong)
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let some = rest.len() < self.rest.len();
        self.rest = rest;
        some.then_some(()).ok_or(Fault::Wrong)
    }

    fn number(&mut self) -> Result<Json, Fault> {
        let start = self.rest;
        self.eat("-");
        if !self.eat("0") {
            self.digits()?;
        }
        if self.eat(".") {
            self.digits()?;
        }
        if self.eat("e") || self.eat("E") {
            let _ = self.eat("+") || self.eat("-");
            self.digits()?;
        }
        let digits = &start[..start.len() - self.rest.len()];
        match digits.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Json::Number(digits.to_owned())),
            _ => Err(Fault::Unsure),
        }
    }
}

/// As JSON text, without spaces.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Number(digits) => f.write_str(digits),
            Json::String(text) => write_string(f, text),
            Json::Array(elements) => {
                f.write_str("[")?;
                for (at, element) in elements.iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    write!(f, "{comma}{element}")?;
                }
                f.write_str("]")
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (at, (name, value)) in members.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { "," })?;
                    write_string(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\0'..='\x1f' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

/// `text` with one value in it changed for another, left out, or there twice; `None` when it is not
/// JSON. `names` and `values` are those that mean something.
pub fn mutate(
    text: &[u8],
    random: &mut Random,
    names: &[&str],
    values: &[&str],
) -> Option<Vec<u8>> {
    const ANY: [&str; 12] = [
        "null", "true", "0", "1", "-1", "1.5", "1e300", "\"\"", "[]", "{}", "[\"a\"]", "[[1]]",
    ];
    let mut whole = read(text).ok()?;
    let mut at = random.below(count(&whole));
    let changed = nth(&mut whole, &mut at)?;
    let value = match random.below(2) {
        0 => random.pick(&ANY),
        _ => random.pick(values),
    };
    let value = read(value.as_bytes()).expect("what targets give is JSON");
    match (changed, random.below(5)) {
        (Json::Object(members), 0) => members.push((random.pick(names).to_owned(), value)),
        (Json::Object(members), 1) if !members.is_empty() => {
            members.remove(random.below(members.len()));
        }
        (Json::Object(members), 2) if !members.is_empty() => {
            let member = members[random.below(members.len())].clone();
            members.insert(random.below(members.len()), member);
        }
        (Json::Object(members), 3) if !members.is_empty() => {
            let at = random.below(members.len());
            members[at].0 = random.pick(names).to_owned();
        }
        (Json::Array(elements), 0) => elements.push(value),
        (Json::Array(elements), 1) if !elements.is_empty() => {
            elements.remove(random.below(elements.len()));
        }
        (Json::Array(elements), 2) if !elements.is_empty() => {
            elements.push(elements[random.below(elements.len())].clone());
        }
        (changed, _) => *changed = value,
    }
    Some(whole.to_string().into_bytes())
}

fn count(value: &Json) -> usize {
    1 + match value {
        Json::Array(elements) => elements.iter().map(count).sum(),
        Json::Object(members) => members.iter().map(|(_, value)| count(value)).sum(),
        _ => 0,
    }
}

/// The value number `at` of those in `value`, itself the first.
fn nth<'a>(value: &'a mut Json, at: &mut usize) -> Option<&'a mut Json> {
    if *at == 0 {
        return Some(value);
    }
    *at -= 1;
    match value {
        Json::Array(elements) => elements.iter_mut().find_map(|element| nth(element, at)),
        Json::Object(members) => members.iter_mut().find_map(|(_, value)| nth(value, at)),
        _ => None,
    }
}
