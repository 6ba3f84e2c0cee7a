//! The file that declares operations beside those that are built in.

use std::{
    fs::File,
    io::{self, Read},
    path::{self, Path},
    str::FromStr,
};

use operations::Catalogue;

use super::NotAllowed;

/// The longest file, in bytes: a wrong file must not fill the memory.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// `OPERATIONS_FILE`: all operations, those of the file among them, as they were when it was read.
#[derive(Clone, Debug)]
pub struct OperationsFile(Catalogue);

impl OperationsFile {
    /// The operations, those that are built in included.
    pub fn catalogue(&self) -> &Catalogue {
        &self.0
    }
}

impl FromStr for OperationsFile {
    type Err = NotAllowed;

    fn from_str(file: &str) -> Result<Self, NotAllowed> {
        let unreadable = |error: io::Error| NotAllowed::new(format!("expected a file that can be read: {error}"));
        // Commands run in its folder, wherever the process is by then.
        let file = path::absolute(file).map_err(unreadable)?;
        let mut text = String::new();
        let bytes = File::open(&file).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
        if bytes.map_err(unreadable)? as u64 > MAX_FILE_BYTES {
            return Err(NotAllowed::new("expected a file of at most 256 KiB"));
        }
        let folder = file.parent().unwrap_or(Path::new("/"));
        let catalogue = Catalogue::built_in().with_file(&text, folder);
        catalogue.map(Self).map_err(|error| NotAllowed::new(error.to_string()))
    }
}

crate::deserialize_by_parsing!(OperationsFile);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use operations::Execution;

    #[test]
    fn a_file_is_read_and_its_commands_run_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operations.toml");
        let load = || path.to_str().unwrap().parse::<OperationsFile>();
        assert!(load().unwrap_err().to_string().contains("can be read"));
        std::fs::write(&path, "[operations.mine]\ndescription = 'Mine.'\ncommand = ['./mine']\n").unwrap();
        let mine = load().unwrap().catalogue().get("mine").unwrap();
        let Execution::Command(command) = mine.execution() else { panic!("it is executed by a command") };
        assert_eq!(command.folder, folder.path());
    }

    #[test]
    fn what_is_wrong_is_told_and_what_is_too_long_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operations.toml");
        for (text, told) in [
            ("[operations.nop]\ndescription = 'x'\nexternal = true", "line 1: there is an operation named `nop`"),
            (&"#".repeat(300_000), "256 KiB"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = path.to_str().unwrap().parse::<OperationsFile>().unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
