"""The record of a study: one append-only log that its own operator cannot quietly change.

An entry is *sequenced* when it has an index, *durable* when it is in the write-ahead log, *integrated* when
it is in the tree, *signed* when a checkpoint over it exists, *published* when witnesses have cosigned that
checkpoint::

    private/wal         every leaf, in batches; one fdatasync each          durable
    private/signed      the largest checkpoint this log has ever signed     signed     <= durable
    public/tile/**      tiles and entry bundles (C2SP tlog-tiles)
    public/checkpoint   signed and cosigned (C2SP tlog-checkpoint)          published  <= signed
    private/staging     files on their way to a name
    private/lock        held by the one sequencer
"""
