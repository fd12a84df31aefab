//! The subjects of rules, as they are written in lists.

use std::fmt;
use std::str::FromStr;

/// One entry of an `allow`, `deny` or `members` list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// `*`: every session.
    Any,
    /// `workstation:NAME`.
    Workstation(String),
    /// `user:NAME`.
    User(String),
    /// `group:NAME`.
    Group(String),
    /// `department:NAME`.
    Department(String),
    /// `mandant:MandantId`.
    Mandant(String),
}

/// What is wrong with a subject's text; [`SubjectError::remedy`] says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// There is no kind before the name.
    #[error("{text:?} does not say what it names")]
    WithoutKind {
        /// What was written.
        text: String,
    },
    /// The kind is none of the five.
    #[error("{kind:?} is not a kind of subject")]
    UnknownKind {
        /// What stands before the colon.
        kind: String,
        /// What stands after it.
        name: String,
    },
    /// There is no name after the kind.
    #[error("\"{kind}:\" lacks a name")]
    WithoutName {
        /// What stands before the colon.
        kind: &'static str,
    },
}

impl SubjectError {
    /// What to write instead.
    pub fn remedy(&self) -> String {
        match self {
            Self::WithoutKind { text } => format!(
                "write \"workstation:{text}\", \"user:{text}\", \"group:{text}\", \
                 \"department:{text}\", \"mandant:{text}\", or \"*\" for everybody"
            ),
            Self::UnknownKind { name, .. } => format!(
                "write \"workstation:\", \"user:\", \"group:\", \"department:\" or \
                 \"mandant:\" before {name:?}, or \"*\" for everybody"
            ),
            Self::WithoutName { kind } => format!("write the name after \"{kind}:\""),
        }
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    /// Reads `kind:name`. A name may hold colons; blanks around it belong to it.
    fn from_str(text: &str) -> Result<Self, SubjectError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let Some((kind, name)) = text.split_once(':') else {
            return Err(SubjectError::WithoutKind { text: text.to_owned() });
        };
        let (kind, subject): (_, fn(String) -> Self) = match kind {
            "workstation" => ("workstation", Self::Workstation),
            "user" => ("user", Self::User),
            "group" => ("group", Self::Group),
            "department" => ("department", Self::Department),
            "mandant" => ("mandant", Self::Mandant),
            _ => {
                let (kind, name) = (kind.to_owned(), name.to_owned());
                return Err(SubjectError::UnknownKind { kind, name });
            }
        };
        if name.is_empty() {
            return Err(SubjectError::WithoutName { kind });
        }
        Ok(subject(name.to_owned()))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Workstation(name) => write!(f, "workstation:{name}"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Department(name) => write!(f, "department:{name}"),
            Self::Mandant(name) => write!(f, "mandant:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_printed_as_they_are_written() {
        for text in ["*", "workstation:PC1", "user:dr.mueller", "group:a:b", "department:kfo"] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        assert_eq!("mandant:M 1".parse(), Ok(Subject::Mandant("M 1".into())));
    }

    #[test]
    fn errors_say_what_to_write_instead() {
        let table = [
            ("PC1", "\"workstation:PC1\""),
            ("", "or \"*\" for everybody"),
            ("gruppe:rezeption", "\"group:\""),
            ("Group:rezeption", "\"Group\" is not a kind"),
            ("user:", "\"user:\" lacks a name"),
        ];
        for (text, expected) in table {
            let error = text.parse::<Subject>().unwrap_err();
            let error = format!("{error}; {}", error.remedy());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
