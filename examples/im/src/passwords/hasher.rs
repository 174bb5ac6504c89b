//! Hashes, computed in memory that is kept for the next one.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{Error, try_generate_salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// Computes the hashes of one thread, one at a time.
///
/// Were the memory taken anew for each hash, the allocator would keep several times as much for every thread.
pub(super) struct Hasher {
    params: Params,
    blocks: Vec<Block>,
}

impl Hasher {
    pub(super) fn new(params: Params) -> Self {
        Self { blocks: vec![Block::default(); params.block_count()], params }
    }

    /// A hash with a salt of its own, as text.
    pub(super) fn hash(&mut self, password: &str) -> Result<String, Error> {
        let salt = Salt::new(&try_generate_salt().map_err(|_| Error::Crypto)?)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::default(), self.params.clone());
        let output = self.compute(&argon2, password, &salt, Params::DEFAULT_OUTPUT_LEN)?;
        let hash = PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::default().into()),
            params: ParamsString::try_from(&self.params)?,
            salt: Some(salt),
            hash: Some(output),
        };
        Ok(hash.to_string())
    }

    /// Whether a password has this hash, which says with which memory and how many passes it was made.
    pub(super) fn is_right(&mut self, password: &str, hash: &str) -> bool {
        self.check(password, hash).unwrap_or(false)
    }

    fn check(&mut self, password: &str, hash: &str) -> Result<bool, Error> {
        let hash = PasswordHash::new(hash)?;
        let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Ok(false) };
        let algorithm = Algorithm::try_from(hash.algorithm.as_str())?;
        let version = hash.version.map_or(Ok(Version::default()), Version::try_from)?;
        let argon2 = Argon2::new(algorithm, version, Params::try_from(&hash)?);
        // Compared in constant time.
        Ok(self.compute(&argon2, password, salt, expected.len())? == *expected)
    }

    fn compute(
        &mut self,
        argon2: &Argon2<'_>,
        password: &str,
        salt: &[u8],
        length: usize,
    ) -> Result<Output, Error> {
        let mut output = vec![0; length];
        match self.blocks.get_mut(..argon2.params().block_count()) {
            Some(blocks) => {
                argon2.hash_password_into_with_memory(password.as_bytes(), salt, &mut output, blocks)?;
            }
            // Made when hashes were to take more memory than now.
            None => argon2.hash_password_into(password.as_bytes(), salt, &mut output)?,
        }
        Ok(Output::new(&output)?)
    }
}
