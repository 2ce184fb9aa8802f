package main

import "github.com/spf13/cobra"

func newSiteRecover() *cobra.Command { return &cobra.Command{Use: "recover", Hidden: true} }
