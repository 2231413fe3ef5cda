//! One line of comma-separated fields, as buildx reads the values of its flags: a field in quotes
//! may hold commas, and a quote in it is written twice.

/// The fields, or what is wrong with the line.
pub(crate) fn fields(line: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let field = &rest[..end];
                if field.contains('"') {
                    return Err("a quote stands in the middle of a field; quote the whole field");
                }
                (field.to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None if after.is_empty() => return Ok(fields),
            None => return Err("a quoted field goes on after its closing quote"),
        }
    }
}

/// What is in the quotes, and what follows them.
fn quoted_field(text: &str) -> Result<(String, &str), &'static str> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some(quote) = rest.find('"') else {
            return Err("a quote is not closed");
        };
        field.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Ok((field, rest)),
        }
    }
}

/// `NAME=VALUE` of every field; the names in lower case.
pub(crate) fn pairs(line: &str) -> Result<Vec<(String, String)>, String> {
    fields(line)?
        .into_iter()
        .map(|field| match field.split_once('=') {
            Some((name, value)) => Ok((name.trim().to_lowercase(), value.to_owned())),
            None => Err(format!("`{field}` is no NAME=VALUE")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_buildx_reads_them() {
        for (line, want) in [
            ("", Ok(vec![""])),
            ("a", Ok(vec!["a"])),
            ("a,b=c", Ok(vec!["a", "b=c"])),
            ("a,", Ok(vec!["a", ""])),
            (r#""a,b",c"#, Ok(vec!["a,b", "c"])),
            (r#""say ""x""",y"#, Ok(vec![r#"say "x""#, "y"])),
            (r#""""#, Ok(vec![""])),
            (r#"a"b"#, Err(())),
            (r#"name="a,b""#, Err(())),
            (r#""a"#, Err(())),
            (r#""a"b"#, Err(())),
        ] {
            let want = want.map(|fields| fields.into_iter().map(str::to_owned).collect());
            assert_eq!(fields(line).map_err(drop), want, "{line}");
        }
    }

    #[test]
    fn pairs_are_split_at_the_first_equals_sign() {
        let read = pairs("Type=tar,dest=a=b").expect("it is well formed");
        assert_eq!(read[0], ("type".to_owned(), "tar".to_owned()));
        assert_eq!(read[1], ("dest".to_owned(), "a=b".to_owned()));
        assert!(pairs("type=tar,x").is_err());
    }
}
