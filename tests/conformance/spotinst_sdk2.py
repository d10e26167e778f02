#!/usr/bin/env python3
"""Drives a platform with the vendor's own SDK (PyPI spotinst-sdk2 >= 3.22).

    PLATFORM_ADMIN_TOKEN=... spotinst_sdk2.py URL          full round, the last line is "conformant"
    PLATFORM_ADMIN_TOKEN=... spotinst_sdk2.py URL --list   the organization's users as JSON
    PLATFORM_ADMIN_TOKEN=... spotinst_sdk2.py URL --read ID   one user's details as JSON

Tokens are never printed.
"""

import json
import os
import sys

# Python puts the directory of a script first, where this file itself would be taken for the SDK.
sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))]

from spotinst_sdk2 import SpotinstSession
from spotinst_sdk2.client import SpotinstClientException
from spotinst_sdk2.clients.admin import AdminClient
from spotinst_sdk2.models.admin import organization as model
from spotinst_sdk2.models.admin.user_mapping import UserMapping


def admin_client(url, token, account=None):
    return SpotinstSession(auth_token=token, account_id=account, base_url=url).client("admin")


def refused(status, call, *args, **kwargs):
    """The SDK's exception has the status only in the JSON after the first line of its message."""
    try:
        call(*args, **kwargs)
    except SpotinstClientException as error:
        code = json.loads(error.message.split("\n", 1)[1])["status"]["code"]
        assert code == status, error.message
        return
    raise AssertionError(f"{call.__name__} was not refused")


def round_trip(url, token):
    bare = admin_client(url, token)
    accounts = bare.get_accounts()
    first, second = accounts[0]["account_id"], accounts[1]["account_id"]
    # With an account the SDK adds `accountId` to every call.
    admin = admin_client(url, token, first)
    assert admin.get_accounts() == accounts

    by_role = admin.create_programmatic_user("sdk-viewer", "made by the SDK", accounts=[{"id": first, "role": "viewer"}])
    assert sorted(by_role) == ["id", "name", "token"], sorted(by_role)
    listed = {user["user_id"]: user for user in admin.get_users()}
    assert listed[by_role["id"]]["type"] == "programmatic" and listed[by_role["id"]]["mfa"] is False
    details = admin.get_user_details(by_role["id"])
    details = details[0] if isinstance(details, list) else details
    assert details["description"] == "made by the SDK", details
    assert details["policies"][0]["policy_id"] == "3", details
    assert details["tokens"][0]["token_last_digits"] == by_role["token"][-4:]

    statement = model.Statement(effect="ALLOW", actions=["elastigroup:*"], resources=["*"])
    content = model.PolicyContent(statements=[statement])
    policy = admin.create_access_policy(
        model.AccessPolicy(name="sdk-policy", description="d", type="ACCOUNT", policy_content=content))
    admin.update_access_policy(
        policy["id"], model.AccessPolicy(name="sdk-policy-2", description="d", type="ACCOUNT", policy_content=content))
    assert "sdk-policy-2" in [p["name"] for p in admin.get_policies()]
    assert any(a["service"] == "elastigroup" for a in admin.get_access_policy_actions(service="elastigroup"))
    assert all(a["service"] == "elastigroup" for a in admin.get_access_policy_actions(service="elastigroup"))

    by_policy = admin.create_programmatic_user(
        "sdk-policy-user", "d", policies=[{"policyId": policy["id"], "accountIds": [first]}])
    status = admin.update_user_to_policy_mapping(
        by_policy["id"],
        [{"policyId": policy["id"], "accountIds": [first, second]}, {"policyId": "3", "accountIds": ["*"]}])
    assert status["code"] == 200, status

    group = admin.create_user_group(model.UserGroup(
        name="sdk-group", description="d", user_ids=[by_role["id"]],
        policies=[model.PolicyMapping(policy_id=policy["id"], account_ids=[second])]))
    assert group["id"] in [g["id"] for g in admin.get_user_groups()]
    assert admin.update_user_to_user_group_mapping(by_policy["id"], [group["id"]])["code"] == 200
    members = {user["user_id"] for user in admin.get_user_group_details(group["id"])["users"]}
    assert members == {by_role["id"], by_policy["id"]}, members
    assert admin.update_user_group_to_user_mapping(group["id"], [by_role["id"]])["code"] == 200
    policies = [{"policyId": "5", "accountIds": ["*"]}]
    assert admin.update_user_group_to_policy_mapping(group["id"], policies)["code"] == 200
    assert admin.update_user_to_user_group_mapping(by_role["id"], [])["code"] == 200

    account = admin.create_account("sdk account")
    assert admin.update_account(account["id"], "sdk account 2")["code"] == 200
    admin.delete_account(account["id"])
    person = admin.create_user("Sdk", "Person", "sdk@example.com", "long enough", "user")
    assert admin.add_existing_user("sdk@example.com", "viewer")["code"] == 200
    assert admin.update_user_role("sdk@example.com", "editor")["code"] == 200
    mappings = [UserMapping(user_email="sdk@example.com", account_id=second, role="viewer")]
    assert admin.assign_user_to_account(mappings)["code"] == 200
    mapped = {m["account_id"]: m["role"] for m in admin.get_user("sdk@example.com")}
    assert mapped == {first: "editor", second: "viewer"}, mapped
    admin.detach_user("sdk@example.com")
    assert [m["account_id"] for m in admin.get_user("sdk@example.com")] == [second]
    # This platform has one organization, and says so.
    refused(400, admin.create_organization, "second")
    refused(404, admin.delete_organization, "1")

    refused(400, admin.create_programmatic_user, "a+b", "d", accounts=[{"id": first, "role": "viewer"}])
    refused(400, admin.create_programmatic_user, "n", "d", accounts=[{"id": "act-00000000", "role": "viewer"}])

    # Every call that the SDK has, as a user that may only read one account, and later with a token that is no more.
    changed = model.AccessPolicy(name="changed", description="d", type="ACCOUNT", policy_content=content)
    mine = [{"id": first, "role": "editor"}]
    more = [{"policyId": "1", "accountIds": ["*"]}]
    new_group = model.UserGroup(name="g", description="d", user_ids=[], policies=[])

    def calls(client):
        return [
            (client.create_organization, "second"),
            (client.delete_organization, "1"),
            (client.create_account, "mine"),
            (client.update_account, first, "mine"),
            (client.delete_account, second),
            (client.create_user, "A", "B", "a@example.com", "long enough", "admin"),
            (client.add_existing_user, "sdk@example.com", "editor"),
            (client.update_user_role, "sdk@example.com", "editor"),
            (client.detach_user, "sdk@example.com"),
            (client.get_user, "sdk@example.com"),
            (client.assign_user_to_account, [UserMapping("sdk@example.com", first, "editor")]),
            (client.get_users,),
            (client.get_policies,),
            (client.get_user_details, by_policy["id"]),
            (client.delete_user, by_policy["id"]),
            (client.update_user_to_user_group_mapping, by_role["id"], [group["id"]]),
            (client.update_user_to_policy_mapping, by_role["id"], more),
            (client.create_programmatic_user, "n", "d", mine),
            (client.create_access_policy, changed),
            (client.update_access_policy, policy["id"], changed),
            (client.delete_access_policy, policy["id"]),
            (client.get_user_groups,),
            (client.create_user_group, new_group),
            (client.get_user_group_details, group["id"]),
            (client.delete_user_group, group["id"]),
            (client.update_user_group_to_user_mapping, group["id"], [by_role["id"]]),
            (client.update_user_group_to_policy_mapping, group["id"], more),
        ]

    viewer = admin_client(url, by_role["token"], first)
    assert [a["account_id"] for a in viewer.get_accounts()] == [first]
    assert viewer.get_access_policy_actions()
    for call, *args in calls(viewer):
        refused(403, call, *args)
    covered = {call.__name__ for call, *_ in calls(viewer)} | {"get_accounts", "get_access_policy_actions"}
    # Of cloud credentials, which are not administration of users.
    elsewhere = {"create_aws_external_id", "set_cloud_credentials"}
    offered = {name for name, value in vars(AdminClient).items() if callable(value) and not name.startswith("_")}
    assert covered | elsewhere == offered, offered ^ (covered | elsewhere)

    admin.delete_user_group(group["id"])
    admin.delete_user(by_role["id"])
    refused(401, viewer.get_accounts)
    refused(401, viewer.get_access_policy_actions)
    for call, *args in calls(viewer):
        refused(401, call, *args)
    refused(404, admin.get_user_details, by_role["id"])
    admin.delete_user(person["user_id"])
    admin.delete_user(by_policy["id"])
    admin.delete_access_policy(policy["id"])
    left = {user["user_id"] for user in admin.get_users()}
    assert not left & {by_role["id"], by_policy["id"], person["user_id"]}
    print("conformant")


def main():
    url, mode = (sys.argv[1:] + [None, None])[:2]
    known = len(sys.argv) == 2 or (mode == "--list" and len(sys.argv) == 3) or (mode == "--read" and len(sys.argv) == 4)
    if not known:
        sys.exit(__doc__)
    token = os.environ.get("PLATFORM_ADMIN_TOKEN")
    if not token:
        sys.exit("set PLATFORM_ADMIN_TOKEN to an administrator's token")
    if mode == "--list":
        print(json.dumps(admin_client(url, token).get_users(), indent=2))
    elif mode == "--read":
        details = admin_client(url, token).get_user_details(sys.argv[3])
        print(json.dumps(details[0] if isinstance(details, list) else details, indent=2))
    else:
        round_trip(url, token)


main()
