//! The text format in which Prometheus reads metrics, version 0.0.4.

use std::fmt::{Display, Write as _};

/// How the format is named to those who fetch it.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// Metrics on their way into the text, family by family.
#[derive(Default)]
pub(super) struct Exposition {
    text: String,
    /// What the names of the families begin with that are of interest.
    prefix: String,
}

/// What a family's samples are.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Never falls, but to zero when the process starts anew.
    Counter,
    Gauge,
    Histogram,
}

/// A label's name and value.
pub(super) type Label<'a> = (&'static str, &'a str);

impl Exposition {
    /// Takes only the families whose names begin so.
    pub(super) fn of(prefix: String) -> Self {
        Self { text: String::new(), prefix }
    }

    /// One family: its name, what it is, and all its samples, which `write` gives. One without samples is left out.
    pub(super) fn family(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &str,
        write: impl FnOnce(&mut Family<'_>),
    ) {
        if !name.starts_with(&self.prefix) {
            return;
        }
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let before = self.text.len();
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        // Writing to a string can't fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        let head = self.text.len();
        write(&mut Family { name, text: &mut self.text });
        if self.text.len() == head {
            self.text.truncate(before);
        }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// A family that is being written.
pub(super) struct Family<'a> {
    name: &'static str,
    text: &'a mut String,
}

impl Family<'_> {
    /// A sample. A family has none twice with the same labels.
    pub(super) fn sample(&mut self, label: Option<Label<'_>>, value: impl Display) {
        self.line("", label.as_slice(), value);
    }

    /// The samples of one histogram: how many values were at most so much, for each bound in rising order; how many there were in
    /// all, and what they add up to.
    pub(super) fn histogram(
        &mut self,
        label: Label<'_>,
        buckets: impl IntoIterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        for (bound, up_to) in buckets {
            self.line("_bucket", &[label, ("le", &bound.to_string())], up_to);
        }
        self.line("_bucket", &[label, ("le", "+Inf")], count);
        self.line("_sum", &[label], sum);
        self.line("_count", &[label], count);
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (place, (name, value)) in labels.iter().enumerate() {
            self.text.push(if place == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            for char in value.chars() {
                match char {
                    '\\' => self.text.push_str(r"\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str(r"\n"),
                    char => self.text.push(char),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_its_head_and_its_samples() {
        let mut metrics = Exposition::default();
        metrics.family("eggs_total", Kind::Counter, "Laid.", |family| {
            family.sample(Some(("hen", "a")), 3);
            family.sample(Some(("hen", "b")), u64::MAX);
        });
        metrics.family("empty", Kind::Gauge, "No one.", |_| {});
        metrics.family("weight_grams", Kind::Gauge, "On average.", |family| family.sample(None, 57.25));
        assert_eq!(
            metrics.into_text(),
            "# HELP eggs_total Laid.\n# TYPE eggs_total counter\neggs_total{hen=\"a\"} 3\n\
             eggs_total{hen=\"b\"} 18446744073709551615\n\
             # HELP weight_grams On average.\n# TYPE weight_grams gauge\nweight_grams 57.25\n"
        );
    }

    #[test]
    fn families_of_other_names_than_are_asked_for_are_left_out() {
        let mut metrics = Exposition::of("eggs_".to_owned());
        for name in ["hens", "eggs_laid", "eggs_broken", "eggs", "no_eggs_"] {
            metrics.family(name, Kind::Gauge, "Some.", |family| family.sample(None, 1));
        }
        let text = metrics.into_text();
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples, ["eggs_laid 1", "eggs_broken 1"]);
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_all() {
        let mut metrics = Exposition::default();
        metrics.family("late_seconds", Kind::Histogram, "Late.", |family| {
            family.histogram(("loop", "a"), [(0.000001, 2), (1024.0, 5)], 6, 1030.5);
        });
        let text = metrics.into_text();
        assert_eq!(
            text.lines().skip(2).collect::<Vec<_>>(),
            [
                "late_seconds_bucket{loop=\"a\",le=\"0.000001\"} 2",
                "late_seconds_bucket{loop=\"a\",le=\"1024\"} 5",
                "late_seconds_bucket{loop=\"a\",le=\"+Inf\"} 6",
                "late_seconds_sum{loop=\"a\"} 1030.5",
                "late_seconds_count{loop=\"a\"} 6",
            ]
        );
    }

    #[test]
    fn what_would_end_a_label_or_a_line_is_escaped() {
        let mut metrics = Exposition::default();
        metrics.family("x", Kind::Gauge, "a \"b\" \\ c\nd", |family| {
            family.sample(Some(("name", "a \"b\" \\ c\nd é{},")), 1);
        });
        assert_eq!(
            metrics.into_text(),
            "# HELP x a \"b\" \\\\ c\\nd\n# TYPE x gauge\nx{name=\"a \\\"b\\\" \\\\ c\\nd é{},\"} 1\n"
        );
    }
}
