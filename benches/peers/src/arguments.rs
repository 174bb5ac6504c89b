//! The command line: words, and options with a value each.

use std::collections::HashMap;
use std::str::FromStr;

pub type Failure = Box<dyn std::error::Error>;

/// A command line that has been taken apart.
#[derive(Debug, Default)]
pub struct Arguments {
    words: Vec<String>,
    options: HashMap<String, String>,
}

impl Arguments {
    /// Takes words, `--option value` and, for those in `switches`, `--option` alone.
    pub fn parse(arguments: impl Iterator<Item = String>, switches: &[&str]) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let Some(option) = argument.strip_prefix("--") else {
                parsed.words.push(argument);
                continue;
            };
            let value = if switches.contains(&option) { Some(String::new()) } else { arguments.next() };
            let value = value.ok_or_else(|| format!("--{option} wants a value"))?;
            parsed.options.insert(option.to_owned(), value);
        }
        Ok(parsed)
    }

    pub fn word(&self, index: usize) -> Option<&str> {
        self.words.get(index).map(String::as_str)
    }

    pub fn has(&mut self, option: &str) -> bool {
        self.options.remove(option).is_some()
    }

    /// The value of an option, or nothing if it isn't there.
    pub fn option<T: FromStr>(&mut self, option: &str) -> Result<Option<T>, Failure>
    where
        T::Err: std::fmt::Display,
    {
        let Some(value) = self.options.remove(option) else { return Ok(None) };
        value.parse().map(Some).map_err(|error| format!("--{option} {value}: {error}").into())
    }

    /// The value of an option that there has to be.
    pub fn required<T: FromStr>(&mut self, option: &str) -> Result<T, Failure>
    where
        T::Err: std::fmt::Display,
    {
        self.option(option)?.ok_or_else(|| format!("--{option} is missing").into())
    }

    /// A list of values, separated by commas.
    pub fn list(&mut self, option: &str) -> Option<Vec<String>> {
        Some(self.options.remove(option)?.split(',').map(|value| value.trim().to_owned()).collect())
    }

    /// Complains of options that nobody has asked for.
    pub fn finish(self) -> Result<(), Failure> {
        match self.options.keys().next() {
            Some(option) => Err(format!("--{option} is no option here").into()),
            None => Ok(()),
        }
    }
}
