# SPDX-License-Identifier: Apache-2.0
{ pkgs ? import <nixpkgs> { } }:

pkgs.rustPlatform.buildRustPackage {
  pname = "vita";
  version = (builtins.fromTOML (builtins.readFile ../Cargo.toml)).package.version;

  # Only what git would take, without what was built in this directory.
  src = pkgs.lib.cleanSourceWith {
    src = pkgs.lib.cleanSource ../.;
    filter = path: type: baseNameOf path != "target";
  };
  cargoLock.lockFile = ../Cargo.lock;

  # libbpf is built from the source that its crate carries. The XDP program is not built here but taken as it is in the
  # repository: the compiler wrapper of nixpkgs adds flags that the BPF target does not know.
  nativeBuildInputs = [ pkgs.pkg-config pkgs.m4 ];
  buildInputs = [ pkgs.elfutils pkgs.zlib ];

  # The tests need root, network namespaces and AF_XDP, which a build sandbox has not.
  doCheck = false;

  postInstall = ''
    ln -s vita $out/bin/snabb
  '';

  meta = {
    description = "IPsec gateway in user space";
    license = pkgs.lib.licenses.asl20;
    platforms = [ "x86_64-linux" ];
    mainProgram = "vita";
  };
}
