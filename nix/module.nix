# SPDX-License-Identifier: Apache-2.0
# imports = [ ./vita/nix/module.nix ];
# services.vita.paris = { cpus = "2,3"; configFile = "/etc/vita-paris.conf"; };
{ config, lib, pkgs, ... }:

let
  vita = import ./. { inherit pkgs; };

  instance = name: options: {
    description = "Vita IPsec gateway ${name}";
    wantedBy = [ "multi-user.target" ];
    after = [ "network-pre.target" ];
    serviceConfig = {
      ExecStart = lib.concatStringsSep " " ([ "${vita}/bin/vita" "--name" name "--xdp" ]
        ++ lib.optionals (options.cpus != null) [ "--cpu" options.cpus ]
        ++ lib.optionals (options.configFile != null) [ "--config" options.configFile ]);
      StateDirectory = "vita";
      StateDirectoryMode = "0700";
      Restart = "on-failure";
      LimitMEMLOCK = "infinity";
      CapabilityBoundingSet = [ "CAP_NET_ADMIN" "CAP_NET_RAW" "CAP_BPF" "CAP_IPC_LOCK" "CAP_SYS_NICE" ];
    };
  };
in
{
  options.services.vita = lib.mkOption {
    default = { };
    description = "Vita gateways, by name.";
    type = lib.types.attrsOf (lib.types.submodule {
      options = {
        cpus = lib.mkOption {
          type = lib.types.nullOr lib.types.str;
          default = null;
          example = "2,3";
          description = "Cores to pin the workers to.";
        };
        configFile = lib.mkOption {
          # A path as text: a file in the store would show its keys to every user.
          type = lib.types.nullOr lib.types.str;
          default = null;
          description = "Configuration to start with, readable by root only.";
        };
      };
    });
  };

  config = lib.mkIf (config.services.vita != { }) {
    environment.systemPackages = [ vita ];
    systemd.services = lib.mapAttrs' (name: options: lib.nameValuePair "vita-${name}" (instance name options)) config.services.vita;
  };
}
