//! Prometheus's text, read as strictly as `promtool check metrics` reads it.

use std::collections::{BTreeMap, BTreeSet};

/// One page of `/metrics`.
#[derive(Debug)]
pub struct Page {
    /// Family → type.
    pub types: BTreeMap<String, String>,
    /// Name with labels → value.
    pub samples: BTreeMap<String, f64>,
}

/// Labels with their values.
type Labels<'a> = Vec<(&'a str, &'a str)>;

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
}

/// The name and the labels of a sample.
fn parts(series: &str) -> Result<(&str, BTreeMap<&str, &str>), String> {
    let Some((name, rest)) = series.split_once('{') else { return Ok((series, BTreeMap::new())) };
    let inner = rest.strip_suffix('}').ok_or_else(|| format!("no end of the labels: {series}"))?;
    let mut labels = BTreeMap::new();
    for label in inner.split(',') {
        let pair =
            label.split_once('=').and_then(|(key, value)| Some((key, value.strip_prefix('"')?.strip_suffix('"')?)));
        let (key, value) = pair.ok_or_else(|| format!("no label: {label}"))?;
        if !is_name(key) || value.is_empty() || labels.insert(key, value).is_some() {
            return Err(format!("a bad label: {series}"));
        }
    }
    Ok((name, labels))
}

impl Page {
    /// Reads a page; says what `promtool` would not take, or would call bad style.
    pub fn read(text: &str) -> Result<Self, String> {
        let (mut helps, mut types, mut samples) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let mut present = String::new();
        if !text.ends_with('\n') {
            return Err("the last line has no end".into());
        }
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').ok_or_else(|| format!("no help: {line}"))?;
                if help.trim().len() < 10 || !helps.insert(name.to_owned()) {
                    return Err(format!("no help, or a second one: {line}"));
                }
                name.clone_into(&mut present);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or_else(|| format!("no type: {line}"))?;
                if name != present || types.insert(name.to_owned(), kind.to_owned()).is_some() {
                    return Err(format!("not after its help, or a second one: {line}"));
                }
            } else {
                let (series, value) = line.rsplit_once(' ').ok_or_else(|| format!("no sample: {line}"))?;
                let value: f64 = value.parse().map_err(|_| format!("no number: {line}"))?;
                let (name, _) = parts(series)?;
                let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let family = of_histogram.filter(|family| types.get(*family).is_some_and(|kind| kind == "histogram"));
                if family.unwrap_or(name) != present || !types.contains_key(&present) {
                    return Err(format!("not after its help and type: {line}"));
                }
                if samples.insert(series.to_owned(), value).is_some() {
                    return Err(format!("told twice: {series}"));
                }
            }
        }
        let page = Self { types, samples };
        page.check()?;
        Ok(page)
    }

    fn check(&self) -> Result<(), String> {
        for (name, kind) in &self.types {
            if !is_name(name) || !["counter", "gauge", "histogram"].contains(&kind.as_str()) {
                return Err(format!("{name} is a {kind}"));
            }
            if (kind == "counter") != name.ends_with("_total") {
                return Err(format!("{name} is a {kind}: counters, and they alone, end in _total"));
            }
            let reserved = ["_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end));
            let odd = ["_ms", "_milliseconds", "_minutes", "_hours", "_msat", "_msats"].iter();
            if reserved || name.contains("__") || odd.clone().any(|end| name.trim_end_matches("_total").ends_with(end))
            {
                return Err(format!("{name} has an end that it must not have"));
            }
            if name.split('_').any(|word| ["counter", "gauge", "histogram"].contains(&word)) {
                return Err(format!("{name} names its type"));
            }
            if kind == "histogram" {
                self.check_histogram(name)?;
            }
        }
        Ok(())
    }

    /// Buckets rise up to the one without a bound, which is the count.
    fn check_histogram(&self, name: &str) -> Result<(), String> {
        let mut buckets: BTreeMap<Labels<'_>, Vec<(f64, f64)>> = BTreeMap::new();
        for (series, value) in &self.samples {
            let (of, mut labels) = parts(series)?;
            if of.strip_suffix("_bucket") == Some(name) {
                let bound = labels.remove("le").ok_or_else(|| format!("{series} has no bound"))?;
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().map_err(|_| series.clone())? };
                buckets.entry(labels.into_iter().collect()).or_default().push((bound, *value));
            }
        }
        for (labels, mut buckets) in buckets {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let inner: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
            let labelled = if inner.is_empty() { String::new() } else { format!("{{{}}}", inner.join(",")) };
            let count = self.get(&format!("{name}_count{labelled}"));
            let last = buckets.last().map(|(bound, value)| (bound.is_infinite(), *value));
            if !buckets.is_sorted_by(|a, b| a.1 <= b.1) || last != count.map(|count| (true, count)) {
                return Err(format!("the buckets of {name}{labelled} do not add up"));
            }
            if self.get(&format!("{name}_sum{labelled}")).is_none() {
                return Err(format!("{name}{labelled} has no sum"));
            }
        }
        Ok(())
    }

    /// The value of one series; its labels in any order.
    pub fn get(&self, series: &str) -> Option<f64> {
        let wanted = parts(series).unwrap();
        self.samples.iter().find(|(series, _)| parts(series).as_ref() == Ok(&wanted)).map(|(_, value)| *value)
    }
}

#[test]
fn what_promtool_would_not_take_is_seen() {
    let good = "# HELP a_total What it is.\n# TYPE a_total counter\na_total{x=\"y\"} 1\na_total{x=\"z\"} 2\n";
    assert_eq!(Page::read(good).unwrap().get("a_total{x=\"z\"}"), Some(2.0));
    let histogram =
        "# HELP h What it is.\n# TYPE h histogram\nh_sum 3\nh_count 2\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\n";
    Page::read(histogram).unwrap();
    for (from, to) in [
        ("# HELP a_total What it is.\n", ""),
        ("# TYPE a_total counter\n", ""),
        ("What it is.", ""),
        ("counter", "gauge"),
        ("counter", "untyped"),
        ("a_total", "a"),
        ("x=\"z\"", "x=\"y\""),
        ("x=\"z\"", "x=z"),
        ("x=\"z\"", "X=\"z\""),
        (" 2\n", " two\n"),
        (" 2\n", " 2"),
        ("a_total", "a_ms_total"),
        ("a_total", "a_counter_total"),
    ] {
        assert!(Page::read(&good.replace(from, to)).is_err(), "{from} → {to}");
    }
    for (from, to) in [("h_count 2", "h_count 3"), ("\"1\"} 1", "\"1\"} 3"), ("h_sum 3\n", ""), ("+Inf", "2")] {
        assert!(Page::read(&histogram.replace(from, to)).is_err(), "{from} → {to}");
    }
}
