//! The texts of mails.
//!
//! A file has the texts of one language, in sections: `== invitation ==`, a subject, an empty line, and paragraphs with empty
//! lines between. A paragraph that is `[words](address)` becomes a button, or in plain text the words and the address. Files
//! in the folder of the operator take the place of ours: `en.txt`, section by section, and `mail.html`, the frame of the HTML
//! part. Another language is another file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use minijinja::{Environment, UndefinedBehavior, Value, context};

use crate::error::StartError;
use crate::mail::{MailError, Message, Subject};

const ENGLISH: &str = include_str!("templates/en.txt");
const FRAME: &str = include_str!("templates/mail.html");
/// The values that a text may name.
const VALUES: [&str; 9] = ["name", "username", "url", "until", "at", "by", "address", "email", "token"];
const SETTING: &str = "COUNTERSIGN_MAIL_TEMPLATES";

/// The texts of one language.
pub struct Templates(Environment<'static>);

/// A mail as it is sent.
pub struct Text {
    /// The header line.
    pub subject: String,
    /// The part in plain text.
    pub plain: String,
    /// The part in HTML.
    pub html: String,
}

impl Templates {
    /// The texts in this language, of a service with this name.
    pub fn new(service: &str, language: &str, folder: Option<&Path>) -> Result<Self, StartError> {
        let read = |name: &str| match folder.map(|folder| folder.join(name)) {
            Some(file) if file.exists() => fs::read_to_string(&file).map(Some).map_err(|error| {
                StartError::setting(SETTING, format_args!("{} cannot be read: {error}", file.display()))
            }),
            _ => Ok(None),
        };
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(StartError::setting(SETTING, format_args!("{} is no folder", folder.display())));
        }
        let file = format!("{language}.txt");
        let own = read(&file)?;
        if own.is_none() && language != "en" {
            let mend = format!("there is no {file} in COUNTERSIGN_MAIL_TEMPLATES; begin with a copy of en.txt");
            return Err(StartError::setting("COUNTERSIGN_MAIL_LANGUAGE", mend));
        }
        let mut sections = sections(ENGLISH);
        sections.extend(own.as_deref().map(self::sections).unwrap_or_default());
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.add_global("service", service);
        templates.add_global("language", language);
        for (name, text) in sections {
            let is_known = Subject::ALL.iter().any(|subject| subject.as_str() == name);
            if !is_known {
                return Err(StartError::setting(
                    SETTING,
                    format_args!("{file} has a section {name}, which no mail has"),
                ));
            }
            let added = templates.add_template_owned(format!("{name}.txt"), text);
            added.map_err(|error| StartError::setting(SETTING, format_args!("{file}, section {name}: {error}")))?;
        }
        let frame = read("mail.html")?.unwrap_or_else(|| FRAME.to_owned());
        let added = templates.add_template_owned("mail.html", frame);
        added.map_err(|error| StartError::setting(SETTING, format_args!("mail.html: {error}")))?;
        let templates = Self(templates);
        // A name that no mail has would otherwise be found when the first mail cannot be written.
        for subject in Subject::ALL {
            let values = VALUES.map(|name| (name.to_owned(), name.to_owned())).into();
            let message = Message { to: String::new(), subject, values };
            let written = templates.render(&message);
            written.map_err(|error| StartError::setting(SETTING, format_args!("{}: {error}", subject.as_str())))?;
        }
        Ok(templates)
    }

    /// Writes a mail.
    pub fn render(&self, message: &Message) -> Result<Text, MailError> {
        let fault = |error: minijinja::Error| MailError::Failed(format!("its template: {error}"));
        let template = self.0.get_template(&format!("{}.txt", message.subject.as_str())).map_err(fault)?;
        let values: BTreeMap<&str, Value> =
            message.values.iter().map(|(name, value)| (name.as_str(), Value::from(value.as_str()))).collect();
        let text = template.render(values).map_err(fault)?;
        let (subject, body) = text.trim().split_once('\n').unwrap_or((text.trim(), ""));
        // A line break in a header begins another header.
        let subject: String = subject.chars().filter(|c| !c.is_control()).collect();
        let paragraphs: Vec<_> = body.split("\n\n").map(str::trim).filter(|text| !text.is_empty()).collect();
        let plain = paragraphs.iter().map(|text| match button(text) {
            Some((words, url)) => format!("{words}:\n{url}"),
            None => (*text).to_owned(),
        });
        let plain = plain.collect::<Vec<_>>().join("\n\n") + "\n";
        let paragraphs = paragraphs.iter().map(|text| match button(text) {
            Some((words, url)) => context! { words, url, text => "" },
            None => context! { words => "", url => "", text => *text },
        });
        let paragraphs: Vec<Value> = paragraphs.collect();
        let frame = self.0.get_template("mail.html").map_err(fault)?;
        let html = frame.render(context! { subject => subject.as_str(), paragraphs }).map_err(fault)?;
        Ok(Text { subject, plain, html })
    }
}

/// The sections of a file, by their names.
fn sections(text: &str) -> BTreeMap<String, String> {
    let mut sections = BTreeMap::new();
    let mut current: Option<(String, String)> = None;
    for line in text.lines() {
        let name = line.strip_prefix("== ").and_then(|rest| rest.strip_suffix(" =="));
        match (name, &mut current) {
            (Some(name), _) => sections.extend(current.replace((name.to_owned(), String::new()))),
            (None, Some((_, text))) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    sections.extend(current);
    sections
}

/// The words and the address of a paragraph that is `[words](address)`.
fn button(paragraph: &str) -> Option<(&str, &str)> {
    let (words, url) = paragraph.strip_prefix('[')?.strip_suffix(')')?.split_once("](")?;
    (!url.contains(char::is_whitespace)).then_some((words, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mail with every value that a text may name.
    fn message(subject: Subject) -> Message {
        let values = VALUES.map(|name| (name.to_owned(), format!("<{name}>"))).into();
        Message { to: "ana@example.com".into(), subject, values }
    }

    #[test]
    fn every_mail_has_a_text() {
        let templates = Templates::new("Acme & Co", "en", None).unwrap();
        for subject in Subject::ALL {
            let text = templates.render(&message(subject)).unwrap();
            assert!(!text.subject.is_empty() && text.subject.len() < 80, "{}", text.subject);
            assert!(text.plain.contains("Acme & Co") && text.html.contains("Acme &amp; Co"), "{}", text.plain);
            assert!(!text.html.contains("<name>") && !text.html.contains("<username>"), "{}", text.html);
        }
        assert_eq!(sections(ENGLISH).len(), Subject::ALL.len());
    }

    #[test]
    fn an_operator_overrides_sections_and_the_frame() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("en.txt"), "== test ==\nHello\n\n{{ service }} says hello.\n").unwrap();
        fs::write(folder.path().join("mail.html"), "<h1>{{ subject }}</h1>").unwrap();
        let templates = Templates::new("Acme", "en", Some(folder.path())).unwrap();
        let text = templates.render(&message(Subject::Test)).unwrap();
        assert_eq!((text.subject.as_str(), text.plain.as_str()), ("Hello", "Acme says hello.\n"));
        assert_eq!(text.html, "<h1>Hello</h1>");
        assert!(templates.render(&message(Subject::Invitation)).unwrap().plain.contains("<url>"));
        for (name, text, said) in [
            ("en.txt", "== tset ==\nHello\n", "section tset"),
            ("en.txt", "== test ==\n{{ broken\n", "section test"),
            ("en.txt", "== test ==\n{{ nmae }}\n", "test: "),
            ("mail.html", "{% if %}", "mail.html"),
        ] {
            fs::remove_file(folder.path().join("en.txt")).unwrap_or_default();
            fs::write(folder.path().join(name), text).unwrap();
            let error = Templates::new("Acme", "en", Some(folder.path())).err().unwrap().to_string();
            assert!(error.contains(said), "{error}");
        }
        let error = Templates::new("Acme", "de", Some(folder.path())).err().unwrap().to_string();
        assert!(error.contains("there is no de.txt"), "{error}");
    }

    #[test]
    fn a_value_breaks_no_header_and_makes_no_button() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("en.txt"), "== test ==\nFor {{ name }}\n\n{{ name }}\n").unwrap();
        let templates = Templates::new("Acme", "en", Some(folder.path())).unwrap();
        let mut message = message(Subject::Test);
        message.values.insert("name".into(), "x\r\nBcc: y".into());
        // The first line ends the subject; what follows is text.
        let text = templates.render(&message).unwrap();
        assert_eq!(text.subject, "For x");
    }
}
