//! `--chmod`: an octal mode, or a symbolic one as chmod(1) takes it.
//!
//! As with BuildKit there is no umask: `+w` means `a+w`.

/// A mode to set, or changes to the mode that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Permissions {
    /// The twelve permission bits.
    Bits(u32),
    Changes(Vec<Change>),
}

/// One `[ugoa][+-=][rwxXst]` or `[ugoa][+-=][ugo]` of a symbolic mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The bits that may change.
    who: u32,
    operator: Operator,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Assign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Bits {
        bits: u32,
        /// `X`: also execution, for directories and for what somebody may execute already.
        sometimes_execute: bool,
    },
    /// What the user (6), the group (3) or the others (0) have: how far their bits are shifted.
    SameAs(u32),
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHERS: u32 = 0o1007;

impl Permissions {
    /// Reads a mode; nothing when the text is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok()?;
            return (bits <= 0o7777).then_some(Self::Bits(bits));
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            clause_changes(clause, &mut changes)?;
        }
        Some(Self::Changes(changes))
    }

    /// The mode of something that had another one.
    pub(crate) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Bits(bits) => *bits,
            Self::Changes(changes) => changes
                .iter()
                .fold(mode, |so_far, change| change.apply(so_far, is_directory)),
        }
    }

    /// The mode of directories that are made on the way to a destination. BuildKit makes them with
    /// mkdir(2) under the usual umask, so writing by others and the bits above 0777 are lost.
    pub(crate) fn of_parents(&self) -> u32 {
        match self {
            Self::Bits(bits) => bits & 0o777 & !0o022,
            Self::Changes(_) => 0o755,
        }
    }
}

impl Change {
    fn apply(self, mode: u32, is_directory: bool) -> u32 {
        let bits = match self.what {
            What::Bits {
                bits,
                sometimes_execute,
            } => {
                let execute = sometimes_execute && (is_directory || mode & 0o111 != 0);
                bits | if execute { 0o111 } else { 0 }
            }
            What::SameAs(shift) => {
                let of_one = mode >> shift & 0o7;
                of_one << 6 | of_one << 3 | of_one
            }
        };
        match self.operator {
            Operator::Add => mode | bits & self.who,
            Operator::Remove => mode & !(bits & self.who),
            Operator::Assign => mode & !self.who | bits & self.who,
        }
    }
}

/// One clause: who, then one or several times an operator and what it gives or takes.
fn clause_changes(clause: &str, changes: &mut Vec<Change>) -> Option<()> {
    let operators = ['+', '-', '='];
    let at = clause.find(operators)?;
    let (whose, mut rest) = clause.split_at(at);
    let mut who = 0;
    for letter in whose.chars() {
        who |= match letter {
            'u' => USER,
            'g' => GROUP,
            'o' => OTHERS,
            'a' => 0o7777,
            _ => return None,
        };
    }
    if whose.is_empty() {
        who = 0o7777;
    }
    while let Some(operator) = rest.chars().next() {
        let operator = match operator {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            _ => Operator::Assign,
        };
        let letters = &rest[1..];
        let end = letters.find(operators).unwrap_or(letters.len());
        changes.push(Change {
            who,
            operator,
            what: what(&letters[..end])?,
        });
        rest = &letters[end..];
    }
    Some(())
}

fn what(letters: &str) -> Option<What> {
    match letters {
        "u" => return Some(What::SameAs(6)),
        "g" => return Some(What::SameAs(3)),
        "o" => return Some(What::SameAs(0)),
        _ => {}
    }
    let (mut bits, mut sometimes_execute) = (0, false);
    for letter in letters.chars() {
        match letter {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= 0o111,
            'X' => sometimes_execute = true,
            's' => bits |= 0o6000,
            't' => bits |= 0o1000,
            _ => return None,
        }
    }
    Some(What::Bits {
        bits,
        sometimes_execute,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What BuildKit made of the same modes.
    #[test]
    fn modes() {
        for (text, file, directory) in [
            ("755", 0o755, 0o755),
            ("0", 0, 0),
            ("04755", 0o4755, 0o4755),
            ("+w", 0o662, 0o772),
            ("+x", 0o751, 0o751),
            ("u=rwX,go=rX", 0o644, 0o755),
            ("-w", 0o440, 0o550),
            ("=rw", 0o666, 0o666),
            ("u+s,g+s,+t", 0o7640, 0o7750),
            ("g=u", 0o660, 0o770),
            ("o=g", 0o644, 0o755),
            ("+s", 0o6640, 0o6750),
            ("u+x-w", 0o540, 0o550),
            ("go=", 0o600, 0o700),
            ("u+X,g+wX", 0o660, 0o770),
            ("a-rwx,u+r", 0o400, 0o400),
            ("o+s", 0o640, 0o750),
        ] {
            let mode = Permissions::parse(text).expect(text);
            assert_eq!(mode.apply(0o640, false), file, "{text} {mode:?}");
            assert_eq!(mode.apply(0o750, true), directory, "{text} {mode:?}");
        }
    }

    #[test]
    fn texts_that_are_no_modes() {
        for text in [
            "", "8", "10000", "x", "u", "u+q", "u+rw,", "z+x", "0755x", "u+ru",
        ] {
            assert_eq!(Permissions::parse(text), None, "{text}");
        }
    }

    #[test]
    fn parents() {
        for (text, want) in [
            ("700", 0o700),
            ("2770", 0o750),
            ("777", 0o755),
            ("u+s", 0o755),
        ] {
            assert_eq!(
                Permissions::parse(text).map(|mode| mode.of_parents()),
                Some(want),
                "{text}"
            );
        }
    }
}
