//! Writes SVG: elements that end in the order in which they began, and text that can't be taken for markup.

use std::fmt::{Display, Write as _};

/// What an element has besides its name.
pub(super) type Attributes<'a> = &'a [(&'a str, &'a dyn Display)];

/// A document that is being written.
#[derive(Debug, Default)]
pub(super) struct Svg {
    text: String,
    open: Vec<&'static str>,
}

impl Svg {
    /// Begins an element; what follows is inside of it, until [`Svg::end`].
    pub(super) fn begin(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.tag(name, attributes);
        self.text.push_str(">\n");
        self.open.push(name);
    }

    /// Ends the element that began last.
    pub(super) fn end(&mut self) {
        let name = self.open.pop();
        assert!(name.is_some(), "nothing is open");
        if let Some(name) = name {
            let _ = writeln!(self.text, "</{name}>");
        }
    }

    /// An element with nothing inside.
    pub(super) fn empty(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.tag(name, attributes);
        self.text.push_str("/>\n");
    }

    /// An element with words inside.
    pub(super) fn words(&mut self, name: &'static str, attributes: Attributes<'_>, words: &str) {
        self.tag(name, attributes);
        let _ = writeln!(self.text, ">{}</{name}>", escaped(words));
    }

    /// The document.
    pub(super) fn finish(self) -> String {
        assert!(self.open.is_empty(), "still open: {:?}", self.open);
        self.text
    }

    fn tag(&mut self, name: &'static str, attributes: Attributes<'_>) {
        let _ = write!(self.text, "<{name}");
        for (attribute, value) in attributes {
            let _ = write!(self.text, " {attribute}=\"{}\"", escaped(&value.to_string()));
        }
    }
}

/// The text as XML has it between tags and in attributes. What XML can't have at all becomes U+FFFD.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        let mut svg = Svg::default();
        svg.begin("g", &[("id", &"\"><script>")]);
        svg.words("title", &[], "</title>&amp; 'it'\u{1b}\n\u{ffff}é");
        svg.end();
        assert_eq!(
            svg.finish(),
            "<g id=\"&quot;&gt;&lt;script&gt;\">\n\
             <title>&lt;/title&gt;&amp;amp; &#39;it&#39;\u{fffd} \u{fffd}é</title>\n</g>\n"
        );
    }
}
