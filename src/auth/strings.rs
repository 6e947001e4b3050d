//! A list of strings in only two allocations.

use std::fmt;

/// A list of strings in two allocations. An array of 3,000 letters, which fits into a token, takes
/// 15,000 bytes; in a `Vec<String>` it takes more than ten times as much.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Strings {
    /// The strings, concatenated.
    text: String,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Strings {
    /// Adds one at the end.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        let end = u32::try_from(self.text.len());
        self.ends.push(end.expect("no JSON read here has 4 GiB"));
    }

    /// The strings in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let end = *end as usize;
            &self.text[std::mem::replace(&mut start, end)..end]
        })
    }

    /// Whether one of them is exactly this.
    pub fn contains(&self, text: &str) -> bool {
        self.iter().any(|other| other == text)
    }

    /// Frees the capacity that is not used.
    pub fn shrink_to_fit(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// The bytes allocated for them.
    pub fn size(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<u32>()
    }
}

impl<'a> FromIterator<&'a str> for Strings {
    fn from_iter<T: IntoIterator<Item = &'a str>>(texts: T) -> Strings {
        let mut strings = Strings::default();
        texts.into_iter().for_each(|text| strings.push(text));
        strings.shrink_to_fit();
        strings
    }
}

impl fmt::Debug for Strings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_back_in_their_order() {
        for texts in [&[][..], &[""], &["", ""], &["a", "", "bc", "ü", "a"]] {
            let strings: Strings = texts.iter().copied().collect();
            assert_eq!(strings.iter().collect::<Vec<_>>(), texts);
            assert_eq!(format!("{strings:?}"), format!("{texts:?}"));
        }
    }

    #[test]
    fn only_a_whole_string_is_contained() {
        let strings: Strings = ["read:a", "b"].into_iter().collect();
        assert!(strings.contains("read:a") && strings.contains("b"));
        for text in ["", "read:", "a", "read:ab", "ab", "read:a,b"] {
            assert!(!strings.contains(text), "{text}");
        }
        assert_ne!(strings, ["read:", "ab"].into_iter().collect());
    }

    #[test]
    fn many_short_ones_take_little() {
        let strings: Strings = std::iter::repeat_n("a", 3000).collect();
        assert_eq!(strings.size(), 3000 + 4 * 3000);
    }
}
