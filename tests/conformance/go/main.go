// Drives the platform with the vendor's own Go SDK, over every route that it has for users, groups, policies and accounts.
//
//	conformance URL ACCOUNT    with tokens in PLATFORM_ADMIN_TOKEN, PLATFORM_VIEWER_TOKEN and PLATFORM_REVOKED_TOKEN
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"

	"github.com/spotinst/spotinst-sdk-go/service/account"
	"github.com/spotinst/spotinst-sdk-go/service/account/providers/aws"
	"github.com/spotinst/spotinst-sdk-go/service/account/providers/common"
	"github.com/spotinst/spotinst-sdk-go/service/organization"
	"github.com/spotinst/spotinst-sdk-go/spotinst"
	"github.com/spotinst/spotinst-sdk-go/spotinst/client"
	"github.com/spotinst/spotinst-sdk-go/spotinst/credentials"
	"github.com/spotinst/spotinst-sdk-go/spotinst/session"
)

var ctx = context.Background()

// try ends the program with a sentence if something went wrong.
func try[T any](what string) func(T, error) T {
	return func(value T, err error) T {
		must(what, err)
		return value
	}
}

func must(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func check(what string, ok bool) {
	if !ok {
		fmt.Fprintf(os.Stderr, "%s: not as it should be\n", what)
		os.Exit(1)
	}
	fmt.Println("ok", what)
}

func connect(url, token string) *session.Session {
	config := spotinst.DefaultConfig().WithBaseURL(url).WithCredentials(credentials.NewStaticCredentials(token, ""))
	return session.New(config)
}

func users(o *organization.ServiceOp, where string) {
	made := try[*organization.CreateProgrammaticUserOutput]("create a programmatic user")(o.CreateProgUser(ctx, &organization.ProgrammaticUser{
		Name: spotinst.String("go-sdk"), Description: spotinst.String("by the Go SDK"),
		Accounts: []*organization.Account{{Id: &where, Role: spotinst.String("viewer")}},
	})).ProgrammaticUser
	id := spotinst.StringValue(made.ProgUserId)
	check("a programmatic user has an id and a token", len(id) == 11 && len(spotinst.StringValue(made.Token)) == 64)

	var found *organization.User
	for _, user := range try[*organization.ListUsersOutput]("list users")(o.ListUsers(ctx, &organization.ListUsersInput{})).Users {
		if spotinst.StringValue(user.UserID) == id {
			found = user
		}
	}
	check("it is in the list, of its type", found != nil && *found.Type == "programmatic" && *found.Username == "go-sdk" && found.Mfa != nil)

	read := func() *organization.User {
		return try[*organization.ReadUserOutput]("read a user")(o.ReadUser(ctx, &organization.ReadUserInput{UserID: &id})).User
	}
	user := read()
	check("its details", len(user.Policies) == 1 && user.Policies[0].AccountIds[0] == where && len(user.Tokens) == 1 && user.Tokens[0].TokenId != nil)
	prog := try[*organization.ReadProgUserOutput]("read a programmatic user")(o.ReadProgUser(ctx, &organization.ReadUserInput{UserID: &id})).ProgUser
	check("its description, and no token", *prog.Description == "by the Go SDK" && prog.Token == nil)

	must("map policies", o.UpdatePolicyMappingOfUser(ctx, &organization.UpdatePolicyMappingOfUserInput{
		UserID: &id, Policies: []*organization.UserPolicy{{PolicyId: spotinst.String("2"), AccountIds: []string{where}}},
	}))
	check("its policies were replaced", *read().Policies[0].PolicyId == "2")

	group := try[*organization.CreateUserGroupOutput]("create a group")(o.CreateUserGroup(ctx, &organization.UserGroup{
		Name: spotinst.String("go-sdk"), Description: spotinst.String("first"),
		UserIds:  []string{id},
		Policies: []*organization.UserGroupPolicy{{PolicyId: spotinst.String("3"), AccountIds: []string{where}}},
	})).UserGroup
	groupID := spotinst.StringValue(group.UserGroupId)
	check("a group with a member and a policy", len(groupID) == 12 && len(read().Groups) == 1)
	must("map groups", o.UpdateUserGroupMappingOfUser(ctx, &organization.UpdateUserGroupMappingOfUserInput{UserID: &id, UserGroupIds: []string{}}))
	check("it left its group", len(read().Groups) == 0)
	must("map members", o.UpdateUserMappingOfUserGroup(ctx, &organization.UpdateUserMappingOfUserGroupInput{UserGroupId: &groupID, UserIds: []string{id}}))
	must("map policies of a group", o.UpdatePolicyMappingOfUserGroup(ctx, &organization.UpdatePolicyMappingOfUserGroupInput{
		UserGroupId: &groupID, Policies: []*organization.UserPolicy{{PolicyId: spotinst.String("4"), AccountIds: []string{where}}},
	}))
	must("update a group", o.UpdateUserGroup(ctx, &organization.UserGroup{UserGroupId: &groupID, Name: spotinst.String("renamed"), Description: spotinst.String("second")}))
	group = try[*organization.ReadUserGroupOutput]("read a group")(o.ReadUserGroup(ctx, &organization.ReadUserGroupInput{UserGroupID: &groupID})).UserGroup
	check("the group as it was changed", *group.Name == "renamed" && len(group.Users) == 1 && *group.Users[0].UserId == id && *group.Policies[0].PolicyId == "4")
	groups := try[*organization.ListUserGroupsOutput]("list groups")(o.ListUserGroups(ctx, &organization.ListUserGroupsInput{})).UserGroups
	check("the list of groups", len(groups) == 1 && *groups[0].UsersCount == 1)
	try[*organization.DeleteUserGroupOutput]("delete a group")(o.DeleteUserGroup(ctx, &organization.DeleteUserGroupInput{UserGroupID: &groupID}))

	person := try[*organization.CreateUserOutput]("create a console user")(o.CreateUser(ctx, &organization.User{
		FirstName: spotinst.String("Go"), LastName: spotinst.String("Pher"), Email: spotinst.String("go@example.com"),
		Password: spotinst.String("long enough"), Role: spotinst.String("viewer"),
	}, spotinst.Bool(true))).User
	check("a console user with a token", spotinst.StringValue(person.UserID) != "" && len(spotinst.StringValue(person.PersonalAccessToken)) == 64)
	for _, gone := range []*string{&id, person.UserID} {
		try[*organization.DeleteUserOutput]("delete a user")(o.DeleteUser(ctx, &organization.DeleteUserInput{UserID: gone}))
	}
	left := try[*organization.ListUsersOutput]("list users")(o.ListUsers(ctx, &organization.ListUsersInput{})).Users
	for _, user := range left {
		check("they are gone", *user.UserID != id && *user.UserID != *person.UserID)
	}
}

func policies(o *organization.ServiceOp) {
	statement := &organization.Statement{Effect: spotinst.String("ALLOW"), Actions: []string{"ocean:describe*"}, Resources: []string{"*"}}
	policy := try[*organization.CreatePolicyOutput]("create a policy")(o.CreatePolicy(ctx, &organization.CreatePolicyInput{Policy: &organization.Policy{
		Name: spotinst.String("go-sdk"), Description: spotinst.String("first"),
		PolicyContent: &organization.PolicyContent{Statements: []*organization.Statement{statement}},
	}})).Policy
	id := spotinst.StringValue(policy.PolicyID)
	read := func() *organization.Policy {
		return try[*organization.ReadPolicyOutput]("read a policy")(o.ReadPolicy(ctx, &organization.ReadPolicyInput{PolicyID: &id})).Policy
	}
	check("a policy with its statement", read().PolicyContent.Statements[0].Actions[0] == "ocean:describe*")
	try[*organization.UpdatePolicyOutput]("update a policy")(o.UpdatePolicy(ctx, &organization.UpdatePolicyInput{Policy: &organization.Policy{PolicyID: &id, Name: spotinst.String("renamed")}}))
	check("the policy as it was changed", *read().Name == "renamed" && *read().Description == "first")
	try[*organization.DeletePolicyOutput]("delete a policy")(o.DeletePolicy(ctx, &organization.DeletePolicyInput{PolicyID: &id}))
	for _, policy := range try[*organization.ListPoliciesOutput]("list policies")(o.ListPolicies(ctx, &organization.ListPoliciesInput{})).Policies {
		check("it is gone", *policy.PolicyID != id)
	}
}

func accounts(s *session.Session) {
	service := account.New(s).CloudProviderCommon()
	made := try[*common.CreateAccountOutput]("create an account")(service.CreateAccount(ctx, &common.CreateAccountInput{Account: &common.Account{Name: spotinst.String("go-sdk")}})).Account
	id := spotinst.StringValue(made.ID)
	read := try[*common.ReadAccountOutput]("read an account")(service.ReadAccount(ctx, &common.ReadAccountInput{AccountID: &id})).Account
	check("an account by its id", id != "" && *read.Name == "go-sdk")
	try[*common.DeleteAccountOutput]("delete an account")(service.DeleteAccount(ctx, &common.DeleteAccountInput{AccountID: &id}))
}

// awsAccounts is the same by the provider for AWS. What else that has is about the cloud's credentials.
func awsAccounts(s *session.Session) {
	service := account.New(s).CloudProviderAWS()
	made := try[*aws.CreateAccountOutput]("create an account of AWS")(service.CreateAccount(ctx, &aws.CreateAccountInput{Account: &aws.Account{Name: spotinst.String("go-sdk-aws")}})).Account
	id := spotinst.StringValue(made.ID)
	read := try[*aws.ReadAccountOutput]("read an account of AWS")(service.ReadAccount(ctx, &aws.ReadAccountInput{AccountID: &id})).Account
	check("an account of AWS by its id", id != "" && spotinst.StringValue(read.Name) == "go-sdk-aws" && spotinst.StringValue(read.CloudProvider) == "AWS")
	try[*aws.DeleteAccountOutput]("delete an account of AWS")(service.DeleteAccount(ctx, &aws.DeleteAccountInput{AccountID: &id}))
	_, err := service.ReadAccount(ctx, &aws.ReadAccountInput{AccountID: &id})
	check("an account of AWS is gone", err != nil)
}

// methods are those of a service that send something.
func methods(service any) map[string]bool {
	names := map[string]bool{}
	of := reflect.TypeOf(service)
	for i := range of.NumMethod() {
		names[of.Method(i).Name] = true
	}
	return names
}

// refused tries every call that the SDK has as a user that may do none of them, or whose token is no more. An account's
// viewer may read the account.
func refused(url, token, where string, want int) {
	s := connect(url, token)
	o, a := organization.New(s), account.New(s).CloudProviderCommon()
	user, group, policy, name := "pu-00000000", "ugr-00000000", "pol-00000000", spotinst.String("no")
	tries := map[string]error{}
	content := &organization.PolicyContent{Statements: []*organization.Statement{
		{Effect: spotinst.String("ALLOW"), Actions: []string{"*"}, Resources: []string{"*"}}}}
	_, tries["CreateProgUser"] = o.CreateProgUser(ctx, &organization.ProgrammaticUser{
		Name: name, Accounts: []*organization.Account{{Id: &where, Role: spotinst.String("viewer")}}})
	_, tries["CreateUser"] = o.CreateUser(ctx, &organization.User{Email: spotinst.String("no@example.com")}, nil)
	_, tries["ListUsers"] = o.ListUsers(ctx, &organization.ListUsersInput{})
	_, tries["ReadUser"] = o.ReadUser(ctx, &organization.ReadUserInput{UserID: &user})
	_, tries["ReadProgUser"] = o.ReadProgUser(ctx, &organization.ReadUserInput{UserID: &user})
	_, tries["DeleteUser"] = o.DeleteUser(ctx, &organization.DeleteUserInput{UserID: &user})
	tries["UpdatePolicyMappingOfUser"] = o.UpdatePolicyMappingOfUser(ctx, &organization.UpdatePolicyMappingOfUserInput{UserID: &user})
	tries["UpdateUserGroupMappingOfUser"] = o.UpdateUserGroupMappingOfUser(ctx, &organization.UpdateUserGroupMappingOfUserInput{UserID: &user})
	_, tries["CreateUserGroup"] = o.CreateUserGroup(ctx, &organization.UserGroup{Name: name})
	_, tries["ListUserGroups"] = o.ListUserGroups(ctx, &organization.ListUserGroupsInput{})
	_, tries["ReadUserGroup"] = o.ReadUserGroup(ctx, &organization.ReadUserGroupInput{UserGroupID: &group})
	tries["UpdateUserGroup"] = o.UpdateUserGroup(ctx, &organization.UserGroup{UserGroupId: &group, Name: name})
	tries["UpdateUserMappingOfUserGroup"] = o.UpdateUserMappingOfUserGroup(ctx, &organization.UpdateUserMappingOfUserGroupInput{UserGroupId: &group})
	tries["UpdatePolicyMappingOfUserGroup"] = o.UpdatePolicyMappingOfUserGroup(ctx, &organization.UpdatePolicyMappingOfUserGroupInput{UserGroupId: &group})
	_, tries["DeleteUserGroup"] = o.DeleteUserGroup(ctx, &organization.DeleteUserGroupInput{UserGroupID: &group})
	_, tries["CreatePolicy"] = o.CreatePolicy(ctx, &organization.CreatePolicyInput{Policy: &organization.Policy{Name: name, PolicyContent: content}})
	_, tries["ListPolicies"] = o.ListPolicies(ctx, &organization.ListPoliciesInput{})
	_, tries["ReadPolicy"] = o.ReadPolicy(ctx, &organization.ReadPolicyInput{PolicyID: &policy})
	_, tries["UpdatePolicy"] = o.UpdatePolicy(ctx, &organization.UpdatePolicyInput{Policy: &organization.Policy{PolicyID: &policy, Name: name}})
	_, tries["DeletePolicy"] = o.DeletePolicy(ctx, &organization.DeletePolicyInput{PolicyID: &policy})
	_, tries["CreateAccount"] = a.CreateAccount(ctx, &common.CreateAccountInput{Account: &common.Account{Name: name}})
	_, tries["DeleteAccount"] = a.DeleteAccount(ctx, &common.DeleteAccountInput{AccountID: &where})
	ofAWS := account.New(s).CloudProviderAWS()
	_, tries["CreateAccount of AWS"] = ofAWS.CreateAccount(ctx, &aws.CreateAccountInput{Account: &aws.Account{Name: name}})
	_, tries["DeleteAccount of AWS"] = ofAWS.DeleteAccount(ctx, &aws.DeleteAccountInput{AccountID: &where})
	_, reading := a.ReadAccount(ctx, &common.ReadAccountInput{AccountID: &where})
	_, readingOfAWS := ofAWS.ReadAccount(ctx, &aws.ReadAccountInput{AccountID: &where})
	if want == http.StatusForbidden {
		must("a viewer reads its account", reading)
		must("a viewer reads its account of AWS", readingOfAWS)
	} else {
		tries["ReadAccount"], tries["ReadAccount of AWS"] = reading, readingOfAWS
	}
	for what, err := range tries {
		var refusals client.Errors
		if !errors.As(err, &refusals) || len(refusals) == 0 || refusals[0].Response == nil || refusals[0].Response.StatusCode != want {
			fmt.Fprintf(os.Stderr, "%s: wanted %d, got %v\n", what, want, err)
			os.Exit(1)
		}
		fmt.Println("ok", http.StatusText(want)+":", what)
	}
	for _, service := range []any{o, a} {
		for name := range methods(service) {
			_, tried := tries[name]
			check("every call is tried: "+name, tried || name == "ReadAccount")
		}
	}
}

func main() {
	url, where := os.Args[1], os.Args[2]
	admin := connect(url, os.Getenv("PLATFORM_ADMIN_TOKEN"))
	service := organization.New(admin)
	users(service, where)
	policies(service)
	accounts(admin)
	refused(url, os.Getenv("PLATFORM_VIEWER_TOKEN"), where, http.StatusForbidden)
	refused(url, os.Getenv("PLATFORM_REVOKED_TOKEN"), where, http.StatusUnauthorized)
	fmt.Println("conformant")
}
