//! "Did you mean".

/// The candidate that a misspelt word most likely stands for, if one is close enough.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody means words that are longer, and to compare two takes the product of their lengths.
    let is_short = |text: &str| text.len() <= 100;
    if !is_short(word) {
        return None;
    }
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| is_short(candidate))
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_near_and_leaves_the_far() {
        let keys = ["dockerfile", "repository", "rolling", "tags"];
        assert_eq!(closest("dockefile", keys), Some("dockerfile"));
        assert_eq!(closest("Tags", keys), Some("tags"));
        assert_eq!(closest("tag", keys), Some("tags"));
        assert_eq!(closest("zzz", keys), None);
    }

    /// The matrix of two such words would not fit into memory.
    #[test]
    fn long_words_are_not_compared() {
        let long = "x".repeat(1 << 20);
        assert_eq!(closest(&long, [&*long]), None);
        assert_eq!(closest("tag", [&*long, "tags"]), Some("tags"));
    }
}
