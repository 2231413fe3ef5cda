//! When an image and the lines of its history say they were made.
//!
//! Without a time that somebody asked for, each step states when it was made, also where it is taken
//! from the cache: a build that makes nothing new gives the same bytes again. What makes no layer has
//! no time of its own, and states one of its neighbours', as in BuildKit.

use launchway_oci::spec::{History, ImageConfig};

/// Fills in the times that lines of history do not have yet: that of the line before, or, before the
/// first new layer, that of this layer. The image is as old as its last line; one without any layer
/// has no age.
pub(crate) fn fill_in(config: &mut ImageConfig) {
    let mut time = first_new(&config.history);
    let mut behind_a_gap = false;
    for line in &mut config.history {
        if line.created.is_none() {
            behind_a_gap = true;
            line.created.clone_from(&time);
        } else if behind_a_gap {
            time.clone_from(&line.created);
        }
    }
    let last = config.history.iter().rev();
    config.created = last.filter_map(|line| line.created.clone()).next();
}

/// The time of the first line after one without a time, or else of the last line that has one.
fn first_new(history: &[History]) -> Option<String> {
    let mut lines = history.iter();
    let before = lines
        .by_ref()
        .take_while(|line| line.created.is_some())
        .last();
    let after = lines.find(|line| line.created.is_some());
    after.or(before).and_then(|line| line.created.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_a_time_take_that_of_a_neighbour() {
        for (given, wanted) in [
            ("", ""),
            ("--", "--"),
            ("ab", "ab"),
            // Nothing new but settings: as old as the image they are of.
            ("ab--", "abbb"),
            // Settings come before the first new layer, and after it.
            ("ab-c-d-", "abcccdd"),
            ("a-b--c", "abbbbc"),
            ("-a-", "aaa"),
        ] {
            let history = given.chars().map(|letter| History {
                created: (letter != '-').then(|| letter.to_string()),
                ..History::default()
            });
            let mut config = ImageConfig {
                history: history.collect(),
                ..ImageConfig::default()
            };
            fill_in(&mut config);
            let times = config.history.iter();
            let times = times.map(|line| line.created.as_deref().unwrap_or("-"));
            let filled: String = times.collect();
            assert_eq!(filled, wanted, "{given}");
            let last = filled.chars().last().filter(|letter| *letter != '-');
            assert_eq!(config.created, last.map(String::from), "{given}");
        }
    }
}
