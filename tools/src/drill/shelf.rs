//! Where scenarios and records of drills are on disk.

use std::path::{Path, PathBuf};

use super::page;
use super::record::{FORMAT, Record};
use super::scenario::Scenario;
use crate::error;

/// Where records are kept unless another place is named.
pub const RECORDS: &str = ".twinset-drills";
/// Where scenarios are unless another place is named.
pub const SCENARIOS: &str = "deploy/drills";

/// Every scenario of a directory, by name.
pub fn scenarios(dir: &Path) -> anyhow::Result<Vec<Scenario>> {
    let listed = std::fs::read_dir(dir).map_err(|cause| {
        let next = "name the directory with --scenarios DIR; they come with the source, in deploy/drills";
        error::usage(format!("there are no scenarios in {}: {cause}", dir.display()), next)
    })?;
    let mut paths: Vec<PathBuf> = listed.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths.iter().map(|path| Scenario::load(path)).collect()
}

/// The scenario of that name, or of that file.
pub fn scenario(dir: &Path, name: &str) -> anyhow::Result<Scenario> {
    match name.ends_with(".toml") {
        true => Scenario::load(Path::new(name)),
        false => Scenario::load(&dir.join(format!("{name}.toml"))),
    }
}

/// Writes a record and its page; gives the page's path. Each appears whole or not at all.
pub fn write(dir: &Path, record: &Record) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    let json = serde_json::to_string(record)?;
    put(&dir.join(format!("{}.json", record.id)), &json)?;
    let path = page_of(dir, &record.id);
    put(&path, &page::page(record))?;
    Ok(path)
}

/// Where the page of a drill is.
pub fn page_of(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}.html"))
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    let beside = path.with_extension("part");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)?;
    Ok(())
}

/// Every record of a directory, the oldest first. A directory that is not there has none.
pub fn records(dir: &Path) -> anyhow::Result<Vec<Record>> {
    let Ok(listed) = std::fs::read_dir(dir) else { return Ok(Vec::new()) };
    let mut paths: Vec<PathBuf> = listed.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    let mut all: Vec<Record> = paths.iter().map(|path| read(path)).collect::<anyhow::Result<_>>()?;
    all.sort_by_key(|record| record.began_unix_ms);
    Ok(all)
}

/// The record of that id; of the newest drill if none is named.
pub fn record(dir: &Path, id: Option<&str>) -> anyhow::Result<Record> {
    if let Some(id) = id {
        return read(&dir.join(format!("{id}.json")));
    }
    records(dir)?.pop().ok_or_else(|| {
        let next = "`twinset drill run NAME --yes` holds one; --records DIR names another place";
        error::usage(format!("there are no records of drills in {}", dir.display()), next)
    })
}

fn read(path: &Path) -> anyhow::Result<Record> {
    let next = "`twinset drill list` shows the drills that are on record; --records DIR names another place";
    let named = |why: String| error::usage(format!("{}: {why}", path.display()), next);
    let text = std::fs::read_to_string(path).map_err(|cause| named(cause.to_string()))?;
    let record: Record = serde_json::from_str(&text).map_err(|cause| named(cause.to_string()))?;
    match record.format {
        FORMAT => Ok(record),
        other => Err(named(format!("its format is {other}, this program knows {FORMAT}"))),
    }
}
