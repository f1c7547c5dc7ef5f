"""The upload workflow of the GarbageTruck paper, with real processes and real files: `make demo`.

Three services handle customers' pictures, and none of them ever deletes anything:

- `upload_service` leases a picture before it writes it, has it indexed, and hands it over;
- `processing_service` takes leases of its own, makes a thumbnail, and holds both while the customer works on them;
- `index_service` keeps a row for each picture in SQLite, and deletes it when the cluster asks it to.

`play` runs them beside a cluster, kills one of them and then the cluster's leader. `verdict` counts what is left.
"""
